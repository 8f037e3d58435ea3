"""A minimal reading of a Dockerfile: stages and their instructions; no engine is needed, and none runs here."""

import re
from dataclasses import dataclass, field


@dataclass
class Stage:
    """One ``FROM`` and what follows it."""

    base: str
    name: str
    steps: list = field(default_factory=list)
    """Pairs of the instruction and its argument."""

    def all(self, instruction):
        """Return the arguments of every use of an instruction."""
        return [argument for name, argument in self.steps if name == instruction]


def parse(text):
    """Return the stages by name, in order."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    stages = {}
    for line in joined.splitlines():
        instruction, _, argument = line.strip().partition(" ")
        if instruction == "FROM":
            base, _, name = argument.partition(" AS ")
            stage = stages[name] = Stage(base, name)
        else:
            stage.steps.append((instruction, argument.strip()))
    return stages


def assignments(stage, instruction):
    """Return the names and values that ARG or ENV give."""
    return dict(part.split("=", 1) for argument in stage.all(instruction) for part in argument.split())


def sent(ignore, path):
    """Return whether a path is sent to the builder, by an allow-list as ``.dockerignore`` writes it."""
    rules = [line for line in ignore.splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    return any(path == rule or path.startswith(f"{rule}/") for rule in allowed) and "__pycache__" not in path
