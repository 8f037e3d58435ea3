#!/bin/sh
# ./ado test runs the tests; ./ado ANYTHING runs ado. The first use makes .venv, later ones find it by its stamp.
set -eu

fail() {
    echo "ado: $1" >&2
    echo "ado: $2" >&2
    exit 125
}

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
venv=${ADO_VENV:-$root/.venv}
if [ -z "${ADO_VENV-}" ] && [ ! -w "$root" ] && [ ! -d "$venv" ]; then
    [ -n "${XDG_CACHE_HOME-}${HOME-}" ] ||
        fail "$root cannot be written to, and HOME is not set" "set ADO_VENV to a directory of your own"
    venv=${XDG_CACHE_HOME:-${HOME-}/.cache}/ado/venv
fi
extra=
[ "${1-}" = test ] && extra='[dev]'
sum=$(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum | cut -d' ' -f1)
stamp=$venv/.ado-$(printf '%s' "$sum $root" | cksum | cut -d' ' -f1)

install() {
    echo "ado: setting up $venv (once, about half a minute)" >&2
    if command -v uv >/dev/null 2>&1; then
        [ -x "$venv/bin/python" ] || uv venv -q --python '>=3.11' "$venv"
        uv pip install -q --python "$venv/bin/python" -c "$root/constraints.txt" -e "$root$extra"
    else
        python=${PYTHON:-python3}
        "$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
            fail "Python 3.11 or newer is needed" "install it, or name one: PYTHON=/path/to/python3.11 ./ado"
        [ -x "$venv/bin/pip" ] || "$python" -I -m venv "$venv" ||
            fail "the venv module does not work" "install it (Debian: apt install python3-venv), or install uv"
        "$venv/bin/python" -I -m pip install -q --no-compile --disable-pip-version-check \
            --root-user-action=ignore -c "$root/constraints.txt" -e "$root$extra" 2>"$venv/.log" ||
            { cat "$venv/.log" >&2; fail "the packages could not be installed" "see above; then run it again"; }
    fi
    # pip's own starter would let PYTHONPATH, and so the working directory, provide modules; os and sys are built in
    printf '#!%s\nimport os, sys\nos.execv(sys.executable, [sys.executable, "-I", "-m", "cli", *sys.argv[1:]])\n' \
        "$venv/bin/python" >"$venv/bin/ado"
    [ -z "$extra" ] || touch "$stamp-dev"
    touch "$stamp"
}

if [ ! -e "$stamp" ] || { [ -n "$extra" ] && [ ! -e "$stamp-dev" ]; }; then
    lock=$venv.lock
    tries=0
    { mkdir -p "$(dirname "$venv")" && mkdir "$venv.$$" && rmdir "$venv.$$"; } 2>/dev/null ||
        fail "$venv cannot be made" "set ADO_VENV to a directory of your own"
    while ! mkdir "$lock" 2>/dev/null; do # another ./ado is setting up, or was killed while it did
        owner=$(cat "$lock/pid" 2>/dev/null || echo)
        if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then rm -rf "$lock"; continue; fi
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || fail "$lock is held by another ./ado" "wait for it, or remove it"
        sleep 0.5
    done
    trap 'rm -rf "$lock"' EXIT
    trap 'exit 130' INT TERM
    echo $$ >"$lock/pid"
    [ -e "$stamp" ] && { [ -z "$extra" ] || [ -e "$stamp-dev" ]; } ||
        (unset PYTHONPATH PYTHONHOME PYTHONUSERBASE; cd "$root"; install) # programs that pip starts would heed them
    rm -rf "$lock"
    trap - EXIT INT TERM
fi

case ${1-} in
test)
    shift
    cd "$root"
    exec "$venv/bin/python" -m pytest "$@"
    ;;
*) exec "$venv/bin/python" -I -m cli "$@" ;;
esac
