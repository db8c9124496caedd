# For scripts that ask a server with clients in Python; they say in `scripts` where this file lies.

# make_environment FOLDER: makes a virtual environment there, unless there is one.
make_environment() {
    ! "$1/bin/python" -m pip --version >/dev/null 2>&1 || return 0
    python3 -m venv "$1" 2>/dev/null || {
        "$scripts/install_packages.sh" python3-venv
        python3 -m venv "$1"
    }
}

# await_address LOG PROCESS: prints the address that the server writes into its log once it listens;
# fails if it has ended by then, or takes two minutes.
await_address() {
    tries=0
    while [ $tries -lt 240 ] && kill -0 "$2" 2>/dev/null; do
        address=$(sed -n 's/^Serving .* at \(http.*\)$/\1/p' "$1")
        [ -z "$address" ] || { echo "$address" && return 0; }
        sleep 0.5
        tries=$((tries + 1))
    done
    return 1
}
