#!/bin/sh
# ./ado test runs the tests; ./ado ANYTHING runs ado. The first use makes .venv with what the command needs; a command
# that needs more has it installed. Stamps tell which parts of pyproject.toml are there, as it is now.
set -eu

fail() {
    echo "ado: $1" >&2
    echo "ado: $2" >&2
    exit 125
}

self=$0
while [ -L "$self" ]; do # ado install links it into ~/.local/bin
    target=$(readlink "$self")
    case $target in /*) self=$target ;; *) self=$(dirname "$self")/$target ;; esac
done
root=$(CDPATH='' cd -- "$(dirname -- "$self")" && pwd)
venv=${ADO_VENV:-$root/.venv}
if [ -z "${ADO_VENV-}" ] && [ ! -w "$root" ] && [ ! -d "$venv" ]; then
    [ -n "${XDG_CACHE_HOME-}${HOME-}" ] ||
        fail "$root cannot be written to, and HOME is not set" "set ADO_VENV to a directory of your own"
    venv=${XDG_CACHE_HOME:-${HOME-}/.cache}/ado/venv
fi
part=${_ADO_NEEDS:-client} # ado says what a command needs; for some that is known without asking it
unset _ADO_NEEDS
case "$part ${1-}" in
client\ test) part=dev ;;
client\ worker) part=worker ;;
client\ up | client\ api | client\ spawner | client\ db) part=server ;;
client\ run)
    if [ -z "${ADO_URL-}" ] && [ ! -e "${ADO_HOME:-${HOME-}/.local/share/ado}/contexts.json" ]; then
        for word in "$@"; do [ "$word" != --remote ] || part=server; done
    fi
    ;;
esac
sum=$(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum | cut -d' ' -f1)
stamp=$venv/.ado-$(printf '%s' "$sum $root" | cksum | cut -d' ' -f1)

is_there() { [ -e "$stamp-$part" ]; }

find_python() {
    python=${PYTHON:-python3}
    "$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "Python 3.11 or newer is needed" "install it, or name one: PYTHON=/path/to/python3.11 ./ado"
}

progress() { # one line for each package, on a terminal over the one before
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$venv/.log"
        case $line in Collecting* | Downloading* | Installing* | Building*) ;; *) continue ;; esac
        if [ -t 2 ]; then printf '\r\033[Kado: %.70s' "$line" >&2; fi
    done
    if [ -t 2 ]; then printf '\r\033[K' >&2; fi
}

make_venv() { # with the pinned pip: older ones take twice as long, and so does unpacking the one that Python brings
    if "$python" -I -m venv --without-pip "$venv" &&
        "$python" -I -m pip --python "$venv/bin/python" install -q --retries 0 -c "$root/constraints.txt" pip >/dev/null 2>&1
    then return; fi
    "$python" -I -m venv "$venv" ||
        fail "the venv module does not work" "install it (Debian: apt install python3-venv), or install uv"
    "$venv/bin/python" -I -m pip install -q --retries 0 -c "$root/constraints.txt" pip >/dev/null 2>&1 || : # it works, too
}

packages() {
    if [ "$uv" = yes ]; then
        uv pip install -q --python "$venv/bin/python" -c "$root/constraints.txt" -e "$1" 2>&1
    else
        "$venv/bin/python" -I -m pip install --progress-bar off -c "$root/constraints.txt" -e "$1" 2>&1
    fi || echo failed >"$venv/.failed"
}

install() {
    for known in worker server kubernetes dev; do # what an older pyproject.toml had installed is kept
        set -- "$venv"/.ado-*-"$known"
        if [ -e "$1" ]; then
            case "$part $known" in *dev*) part=dev ;; *kubernetes*) part=kubernetes ;; *server*) part=server ;; *) part=$known ;; esac
        fi
    done
    extra= included=client
    case $part in
    worker) extra='[worker]' included='client worker' ;;
    server) extra='[server]' included='client worker server' ;;
    kubernetes) extra='[kubernetes]' included='client worker server kubernetes' ;;
    dev) extra='[dev]' included='client worker server kubernetes dev' ;;
    esac
    # for each pip, those that it starts as well; what is not compiled now is compiled when it is first used
    export PIP_NO_COMPILE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
    uv=no
    if command -v uv >/dev/null 2>&1; then uv=yes; fi
    if [ ! -x "$venv/bin/python" ] || { [ $uv = no ] && [ ! -x "$venv/bin/pip" ]; }; then
        echo "ado: making a virtual environment in $venv" >&2
        if [ $uv = yes ]; then
            uv venv -q --python '>=3.11' "$venv"
        else
            find_python
            make_venv
        fi
    fi
    echo "ado: installing ado$extra (once; the first time takes about half a minute)" >&2
    rm -f "$venv/.failed" "$venv/.log"
    packages "$root$extra" | progress
    if [ -e "$venv/.failed" ]; then
        cat "$venv/.log" >&2
        fail "the packages could not be installed" "see above; then run it again"
    fi
    rm -f "$venv"/.ado-[0-9]*
    for name in $included; do touch "$stamp-$name"; done
}

if ! is_there; then
    lock=$venv.lock
    tries=0
    { mkdir -p "$(dirname "$venv")" && mkdir "$venv.$$" && rmdir "$venv.$$"; } 2>/dev/null ||
        fail "$venv cannot be made" "set ADO_VENV to a directory of your own"
    while ! mkdir "$lock" 2>/dev/null; do # another ./ado is setting up, or was killed while it did
        owner=$(cat "$lock/pid" 2>/dev/null || echo)
        if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then rm -rf "$lock"; continue; fi
        [ "$tries" != 4 ] || echo "ado: waiting for another ./ado that is installing" >&2
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || fail "$lock is held by another ./ado" "wait for it, or remove it"
        sleep 0.5
    done
    trap 'rm -rf "$lock"' EXIT
    trap 'exit 130' INT TERM
    echo $$ >"$lock/pid"
    is_there ||
        (unset PYTHONPATH PYTHONHOME PYTHONUSERBASE; cd "$root"; install) # programs that pip starts would heed them
    rm -rf "$lock"
    trap - EXIT INT TERM
fi

[ -x "$venv/bin/python" ] || # of another user's home, or of an old system
    fail "$venv/bin/python cannot be run by this user" "set ADO_VENV to a directory of your own, or remove $venv"

case ${1-} in
test)
    shift
    cd "$root"
    unset PYTHONDONTWRITEBYTECODE # tests start thousands of processes; without byte code each compiles what it imports
    exec "$venv/bin/python" -m pytest "$@"
    ;;
*)
    _ADO_COMMAND=${_ADO_COMMAND:-$0} _ADO_SCRIPT=$root/ado _ADO_INSTALLED=$part
    export _ADO_COMMAND _ADO_SCRIPT _ADO_INSTALLED
    exec "$venv/bin/python" -I -m cli "$@"
    ;;
esac
