# The guardian of one server. It obeys the words on its standard input: start, stop, kill, pause, resume.
# The other end of that pipe is held by the test process alone. When it closes, however the test died, the guardian ends
# the server and removes its folder.
#   guardian.sh FOLDER STOP_SIGNAL LAST_SIGNAL COMMAND...
folder=$1 stop_signal=$2 last_signal=$3
shift 3
pid=
# The kernel hangs up on a group without a parent that has a stopped member: a paused server whose test was killed.
trap : HUP

# Whether no thread of the server and its children runs any more.
all_stopped() {
    for member in $(family); do
        for stat in /proc/"$member"/task/[0-9]*/stat; do
            read -r _ _ state _ < "$stat" && [ "$state" != T ] && [ "$state" != Z ] && return 1
        done
    done 2> /dev/null
    return 0
}

# The server and its children: PostgreSQL has some, each in a process group of its own.
family() {
    echo "$pid"
    for stat in /proc/[0-9]*/stat; do
        read -r child _ _ parent _ < "$stat" && [ "$parent" = "$pid" ] && echo "$child"
    done 2> /dev/null
}

has_ended() {
    read -r _ _ state _ < "/proc/$pid/stat" || return 0
    [ "$state" = Z ]
} 2> /dev/null

end() {
    [ -n "$pid" ] || return 0
    everyone=$(family)
    kill -CONT $everyone
    if [ "$1" = KILL ]; then
        kill -KILL $everyone
    else
        kill -"$1" "$pid"
        tries=0
        until has_ended || [ "$tries" -ge 300 ]; do
            sleep 0.1
            tries=$((tries + 1))
        done
        has_ended || kill -KILL $everyone
    fi
    wait "$pid"
    pid=
} 2> /dev/null

while read -r word; do
    case $word in
        start)
            "$@" < /dev/null >> "$folder/log" 2>&1 &
            pid=$!
            ;;
        stop) end "$stop_signal" ;;
        kill) end KILL ;;
        pause)
            kill -STOP $(family)
            # Threads that run on another core go on for a moment, on a busy machine for a long one.
            tries=0
            until all_stopped || [ $((tries += 1)) -gt 1000 ]; do sleep 0.01; done
            ;;
        resume) kill -CONT $(family) ;;
    esac
    echo "$pid"
done
end "$last_signal"
rm -rf "$folder"
