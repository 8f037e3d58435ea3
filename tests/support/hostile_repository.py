"""A repository whose own files tell git to run programs; each program leaves a mark."""

from support.repositories import Tree

ATTRIBUTES = "* filter=x diff=x merge=x\n*.a=b filter=a.b=c\n"


def configuration(mark):
    """Return a configuration in which everything that git can run leaves a mark."""
    run = f"sh -c 'touch {mark}; cat'"
    return f"""
[core]
    fsmonitor = touch {mark}
    hooksPath = {mark.parent}/hooks
    sshCommand = touch {mark}
    gitProxy = touch {mark}
    pager = touch {mark}
    editor = touch {mark}
    askPass = touch {mark}
    alternateRefsCommand = touch {mark}
[credential]
    helper = !touch {mark}
[credential "https://example.org"]
    helper = !touch {mark}
[diff]
    external = touch {mark}
[diff "x"]
    command = touch {mark}
    textconv = {run}
[merge "x"]
    driver = touch {mark}
[filter "x"]
    clean = {run}
    smudge = {run}
    required = true
[filter "a.b=c"]
    clean = {run}
    process = touch {mark}
[hook "x"]
    command = touch {mark}
    event = pre-commit
[gpg]
    program = touch {mark}
[remote "origin"]
    url = ext::sh -c 'touch {mark}'
    promisor = true
    uploadpack = touch {mark}
[extensions]
    partialClone = origin
[alias]
    diff = !touch {mark}
[include]
    path = {mark.parent}/more
"""


class Hostile:
    """A repository whose own files say what git shall run, and a result to bring into it."""

    def __init__(self, top):
        self.mark = top / "ran"
        self.tree = Tree(top / "here")
        self.base = self.tree.commit({".gitattributes": ATTRIBUTES, "f": "1\n2\n3\n", "x.a=b": "1\n"})
        self.commit = self._work(top)
        self.tree.commit({"y": "here\n"})
        (top / "more").write_text(f'[filter "x"]\n\tprocess = touch {self.mark}\n')
        (top / "hooks").mkdir()
        for hooks in (top / "hooks", self.tree.path / ".git/hooks"):
            hooks.mkdir(exist_ok=True)
            for name in ("post-checkout", "pre-commit", "reference-transaction", "post-index-change"):
                (hooks / name).write_text(f"#!/bin/sh\ntouch {self.mark}\n")
                (hooks / name).chmod(0o755)
        with (self.tree.path / ".git/config").open("a") as file:
            file.write(configuration(self.mark))

    def _work(self, top):
        other = Tree(top / "other", init=False)
        self.tree.git("clone", "--quiet", "--no-local", str(self.tree.path), str(other.path))
        commit = other.commit({"f": "0\n1\n2\n3\n", "x.a=b": "2\n", "new": "n\n"})
        self.bundle = other.bundle(top / "result.bundle", commit)
        return commit
