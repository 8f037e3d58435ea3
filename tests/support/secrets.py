"""Secrets of everyday kinds, and what a masker makes of a stream."""

from worker.output.masking import Masker

SECRET = "correct-horse/battery+staple"
PASSWORD = 'p@ss/w0rd+with:odd?"chars\\&<99> \u00e9'
LINES = [f"{number:02d}Zq8vXw3Lk7PmTy5Rb9NcHd2Gf6Js4Wa0EuIoPlKjHgFdSaQwErTyUiOpAsDf" for number in range(24)]
KEY = "\n".join(["-----BEGIN TEST KEY-----", *LINES, "-----END TEST KEY-----"])
TOKEN = b"ghp_" + b"a1B2" * 9


def streamed(secrets, pieces):
    masker = Masker(secrets)
    return b"".join(masker.feed(piece) for piece in pieces) + masker.flush()


TOKENS = {
    "sk-ant-": 20, "sk-proj-": 20, "sk-": 32, "ghp_": 36, "gho_": 36, "ghu_": 36, "ghs_": 36, "ghr_": 36,
    "github_pat_": 40, "glpat-": 20, "xoxb-": 20, "xoxp-": 20, "npm_": 36, "pypi-": 40, "AIza": 35, "hf_": 30,
    "AKIA": 16, "ASIA": 16, "ado_": 43,
}  # fmt: skip
