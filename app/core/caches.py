"""The caches of package managers that a worker can keep between jobs, by the names that tasks and ``.ado.toml`` use."""

from __future__ import annotations

from collections.abc import Mapping

CACHES: Mapping[str, Mapping[str, str]] = {
    "cargo": {"CARGO_HOME": ""},
    "npm": {"NPM_CONFIG_CACHE": ""},
    "pip": {"PIP_CACHE_DIR": ""},
    "uv": {"UV_CACHE_DIR": "", "UV_LINK_MODE": "copy"},  # by default it makes hard links to the files of a cache
}
"""Each with the variables that lead its program there; an empty value stands for the directory."""
