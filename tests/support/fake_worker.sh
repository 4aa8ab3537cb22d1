#!/bin/sh
# A worker that misbehaves as its own name says (tests make links to this file). Numbers of the processes that it makes are told as
# progress, so that a test can look whether they are gone.

tell() { echo "{\"message\":\"progress\",\"body\":{\"what\":\"$1\",\"done\":0,\"total\":0}}"; }
done_with() {
    echo "{\"message\":\"done\",\"body\":{\"peak_rss_bytes\":$1,\"anonymous_bytes\":null,\"file_bytes\":null,\"scripted_peak_bytes\":null}}"
}

tell $$
name=${0##*/}
# It never reads its job.
[ "$name" = deaf ] && exec sleep 600
read -r _job

case $name in
behaves) done_with null ;;
reports-more) done_with 5000000000 ;;
reports-less) done_with 1; sleep 0.2 ;;
lingers) done_with null; exec sleep 600 ;;
fails-and-lingers) echo '{"message":"failed","body":{"error":"boom"}}'; exec sleep 600 ;;
ignores-closed-stdin) done_with null; exec sleep 600 >&- 2>&- ;;
closes-output) exec sleep 600 >&- ;;
goes-on-talking)
    done_with null
    while :; do tell 1; done
    ;;
leaves-a-child) sleep 600 & tell $!; done_with null ;;
crashes-and-leaves-a-child) sleep 600 & tell $!; exit 3 ;;
hangs-with-children)
    sleep 600 & tell $!
    # One that leaves the process group.
    setsid sleep 600 & tell $!
    wait
    ;;
grows-after-done)
    done_with null
    mkfifo "$0.fifo"
    # Fills its buffer of 472 MB, then waits for a reader for ever.
    exec dd if=/dev/zero bs=450M count=1 1<>"$0.fifo"
    ;;
*) echo "no such worker: $name" >&2; exit 9 ;;
esac
