#!/bin/sh
# Runs the black-box suite without a call that a system may lack or forbid, once for each call and errno,
# and prints a table. Takes 40 seconds for each of some seventy runs: the tests mostly wait, so eight run at once.
#
#   tools/denied-calls.sh [CALL...]       all calls, or these
#   tools/denied-calls.sh --together      all at once that change nothing a test is about: one run per errno
#   tools/denied-calls.sh --list          their names
#
# ERRNOS="EPERM ENOSYS EINVAL" chooses the errnos; the first two are the default. Exit status 1: a test failed.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Those without which a server serves, as the suite's own list has it.
optional() {
    cargo test --locked -q --test black_box the_list_of_calls -- --nocapture |
        sed -n 's/^\([a-z0-9_]*\) optional: .*/\1/p'
}

# Tests that are about the call itself, or whose handlers need it.
about() {
    case $1 in
    clone_vfork) # The log names fork, then.
        echo a_full_process_table_is_503_until_there_is_room ;;
    landlock_create_ruleset)
        printf '%s\n' confinement:: a_sandbox_knows_the_handlers_of_the_new_folder ;;
    limit_locks) # The mark.
        echo trees:: ;;
    memfd_create) # Where no file can be made memory is what is left.
        echo a_server_without_a_writable_folder_says_so_and_serves ;;
    not_sent | not_sent_low_water) # Whether all of a cut response has been sent.
        echo ten_gigabytes_for_a_client_that_does_not_read
        echo all_that_there_is_of_a_cut_response_arrives ;;
    parent_death_signal) # Wakes a stopped worker.
        echo a_stopped_worker_does_not_outlive_its_parent ;;
    pass_rights)
        echo a_client_of_a_unix_listener_passes_no_descriptors ;;
    sched_setscheduler)
        echo a_handler_is_scheduled_as_batch_work ;;
    get_pipe_size) # In pipes of unknown size small bodies need memory.
        echo a_full_disk_under_the_spools ;;
    set_dumpable) # Who may look into the server, and tests that count its WARNs.
        printf '%s\n' confinement:: trees:: ;;
    set_name) # A process by its name.
        echo a_job_that_may_stay_is_heard_also_when_the_server_is_gone ;;
    statx) # Their handlers run ls.
        echo a_handler_has_three_descriptors_and_no_others ;;
    tcp_info) # Whether a byte was sent, and whether the client is there.
        echo an_nph_handler_that_writes_nothing
        echo a_redirected_request_whose_client_leaves ;;
    unsent) # Whether a new server has read of all who were handed on cannot be known.
        echo who_was_handed_on_and_not_read_of
        echo a_new_server_that_is_stopped_before_it_knows ;;
    subreaper) # What is left in a session of its own, be it a server that followed another one.
        printf '%s\n' confinement:: contract:: processes:: trees:: supervision:: \
            a_handler_keeps_its_limits_after_its_response a_middle_server_that_is_killed \
            the_first_of_three_servers what_a_worker_leaves_that_dies ;;
    esac
}

# run DENIAL CALL...: one line of the table.
run() {
    denial=$1
    shift
    # shellcheck disable=SC2046 # One word each.
    set -- $(for call; do about "$call"; done | sort -u | sed 's/^/--skip /')
    status=0
    CAFFEINE_TEST_DENY=$denial cargo test --locked --test black_box -- --test-threads=8 "$@" >"$work/out" 2>&1 || status=$?
    result=$(sed -n 's/^test result: \(.*\); 0 ignored.*; \([0-9]* filtered out\);.*/\1; \2/p' "$work/out")
    printf '%-40.40s %s\n' "$denial" "${result:-did not run}"
    if [ "$status" -ne 0 ]; then
        sed -n 's/^test \(.*\) \.\.\. FAILED$/    \1/p' "$work/out"
        failed=1
    fi
}

failed=0
case ${1-} in
--list)
    optional
    exit 0
    ;;
--together)
    calls=$(optional | grep -vE '^(landlock_create_ruleset|limit_locks|parent_death_signal|set_dumpable|subreaper)$')
    for errno in ${ERRNOS:-EPERM ENOSYS}; do
        # shellcheck disable=SC2086 # One word each.
        run "$(for call in $calls; do printf '%s:%s,' "$call" "$errno"; done)" $calls
    done
    ;;
*)
    [ $# -gt 0 ] || {
        # shellcheck disable=SC2046 # One word each.
        set -- $(optional)
    }
    for call; do
        for errno in ${ERRNOS:-EPERM ENOSYS}; do
            run "$call:$errno" "$call"
        done
    done
    ;;
esac
exit "$failed"
