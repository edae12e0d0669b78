#!/bin/sh
# chat-tmux.sh - rill-chat in a real terminal: keys, history, completion, pastes, resizing,
# interrupts, wide characters, a dumb terminal. What the screen shows is compared.
# Run by tests/run.sh in the build directory, with the tools in PATH. Nothing here waits for a time:
# it waits for what the screen must show, for as long as a loaded machine may need.
set -u
: "${SRCDIR:?}"
if ! command -v tmux >/dev/null; then
    echo 'skipped: no tmux'
    echo 'cli/chat-tmux: 0 passed, 0 failed, 1 skipped'
    exit 0
fi
T=$(pwd)/obj/check/tmp.chat-tmux
rm -rf "$T"
mkdir -p "$T"
XDG_STATE_HOME=$T/state
export XDG_STATE_HOME
unset TMUX EDITRC NO_COLOR
LC_ALL=C.UTF-8
export LC_ALL
sock=$(mktemp -u /tmp/rill-tmux.XXXXXX) # a path of the build folder may be too long for a socket
here=$SRCDIR/tests/cli/chat
cp "$here/tools.json" "$T"
"$(pwd)/obj/tests/mkmodel" --script "$here/script" -o "$T/s.gguf" || exit 1
chat="rill-chat -m s.gguf --template $here/template"
passed=0 failed=0

tm() {
    tmux -S "$sock" -f /dev/null "$@" 2>>"$T/tmux.err"
}

screen() { # without spaces at ends of lines and without empty lines at the end
    tm capture-pane -p -t t | sed 's/ *$//' | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}'
}

give_up() { # what comes later would wait in vain, too
    screen | sed 's/^/    | /'
    echo "cli/chat-tmux: $passed passed, $((failed + 1)) failed, 0 skipped"
    exit 1
}

# wait_for RE: until a line of the screen matches; fails after half a minute
wait_for() {
    i=0
    while ! screen | grep -qE -- "$1"; do
        i=$((i + 1))
        if [ $i -gt 600 ]; then
            echo "failed: waited for '$1' but the screen shows"
            give_up
        fi
        sleep 0.05
    done
}

# until the tool waits for an entry: the last line is a prompt
prompt() {
    i=0
    while ! screen | tail -n 1 | grep -qE '^[0-9]+/[0-9]+( .file)?>$'; do
        i=$((i + 1))
        if [ $i -gt 600 ]; then
            echo 'failed: no prompt; the screen shows'
            give_up
        fi
        sleep 0.05
    done
}

keys() {
    tm send-keys -t t "$@"
}

say() { # say TEXT: types an entry, on a line of its own, and waits for the next prompt
    tm send-keys -t t -l "$1"
    i=0
    while [ $i -lt 600 ]; do # what is not shown yet would leave the prompt before as the last line
        case $(screen | tail -n 1) in *[0-9]'>') ;; *"${1##* }") break ;; esac
        i=$((i + 1))
        sleep 0.05
    done
    keys Enter && prompt
}

clear() { # the line editor's
    keys C-l
    i=0
    while [ "$(screen | wc -l)" -gt 1 ] && [ $i -lt 600 ]; do
        i=$((i + 1))
        sleep 0.05
    done
}

# resize COLUMNS: and until the terminal has it, which tmux may leave for later
resize() {
    tm resize-window -t t -x "$1" -y 20
    tty=$(tm display -p -t t '#{pane_tty}')
    i=0
    while [ "$(stty size <"$tty")" != "20 $1" ] && [ $i -lt 600 ]; do
        i=$((i + 1))
        sleep 0.05
    done
}

# shows WHAT: the screen is standard input
shows() {
    cat >"$T/want"
    screen | sed 's/^[0-9]*\/1048576/N/; s/first [0-9]* of [0-9]* tokens/first N of N tokens/' >"$T/got"
    if diff -u "$T/want" "$T/got" >"$T/diff"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "failed: $1"
        sed 's/^/    /' "$T/diff"
    fi
}

ok() { # ok WHAT STATUS
    if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "failed: $1"; fi
}

start() { # start COLUMNS LINES COMMAND: in a new terminal
    tm kill-session -t t
    # the shell behind it says how it ended
    tm new-session -d -s t -x "$1" -y "$2" \
        "cd '$T' && $3; echo \"ended with \$?\"; exec cat" || exit 1
    wait_for '^[0-9]+/[0-9]+>'
}

end() { # Ctrl-D, and what the session left
    keys C-d
    wait_for '^ended with 0'
    ok "$1: ends" $?
}

trap 'tmux -S "$sock" kill-server 2>/dev/null; rm -f "$sock"' EXIT

tm new-session -d -s keep 'exec cat' # the server stays while the others come and go

# -- answers, words, wide characters --
start 40 20 "$chat --resume one"
clear
say words
shows 'words are not torn' <<'END'
N> words
Words are never torn at the edge of a
narrow window, however long the reply
gets.
N>
END
clear
say 'now think'
shows 'reasoning, then the answer' <<'END'
N> now think
Let me think about this.

The answer is 42.
N>
END
tm capture-pane -p -e -t t | grep -q "$(printf '\033')\\[2mLet me think about this"
ok 'reasoning is dim' $?
clear
say 'wide'
shows 'wide characters' <<'END'
N> wide
日本語のテキスト、改行 emoji 😀 é
한국어.
N>
END

# -- editing --
clear
tm send-keys -t t -l '日本語é x wide'
wait_for 'x wide'
keys Left Left Left Left Left Left Left BSpace Left Left BSpace # the é goes, and 日
wait_for '> 本語 x wide'
screen | head -n 1 | sed 's/^[0-9]*\/1048576/N/' >"$T/line"
keys Enter
prompt
sed -n '$!{h;d};x;s/.*"content":"\([^"]*\)".*/\1/p' "$T/state/rill/chats/one.jsonl" >"$T/entry"
[ "$(sed 's/^N> //' "$T/line")" = "$(cat "$T/entry")" ]
ok "the line is what is sent: $(cat "$T/line") and $(cat "$T/entry")" $?
clear
tm send-keys -t t -l 'words or xthink'
wait_for 'xthink'
keys C-a M-f M-f C-f DC C-e # the x goes
wait_for 'or think'
keys Enter
prompt
shows 'editing by words' <<'END'
N> words or think
Let me think about this.

The answer is 42.
N>
END

# -- history --
clear
keys Up Up
wait_for 'wide$'
keys Down
wait_for '> words or think'
keys C-u
prompt
keys C-r
tm send-keys -t t -l 'now'
wait_for 'now think'
keys C-g C-e C-u
prompt
clear
tm send-keys -t t -l 'first line \' && keys Enter
wait_for '^\.\.\.'
say 'and then think'
shows 'a backslash goes on' <<'END'
N> first line \
... and then think
Let me think about this.

The answer is 42.
N>
END
grep -q '"content":"first line \\nand then think"' "$T/state/rill/chats/one.jsonl"
ok 'an entry of two lines' $?

# -- completion --
clear
keys / s t Tab
wait_for '/stats$'
keys C-u
keys / s Tab
wait_for '^/system +/set +/save +/stats'
keys C-u
prompt
mkdir -p "$T/names"
touch "$T/names/alpha one.txt" "$T/names/alpha two.txt"
tm send-keys -t t -l '/file na' && keys Tab
wait_for '/file names/$'
keys a Tab
wait_for '/file names/alpha$'
keys o Tab
wait_for '/file names/alpha one.txt'
keys C-u
tm send-keys -t t -l '/load o' && keys Tab
wait_for '/load one'
keys C-u
prompt

# -- a file and a retry --
clear
printf 'int main;\n' >"$T/names/alpha one.txt"
tm send-keys -t t -l '/file names/alpha one.txt' && keys Enter
wait_for 'file>$'
say 'and think'
say '/retry'
shows 'a file, and another answer' <<'END'
N> /file names/alpha one.txt
rill-chat: names/alpha one.txt: 1 lines,
 which go with the next entry
N +file> and think
Let me think about this.

The answer is 42.
N> /retry
Let me think about this.

The answer is 42.
N>
END

# -- resizing --
resize 24
clear
say words
shows 'a narrower window' <<'END'
N> words
Words are never torn at
the edge of a narrow
window, however long the
reply gets.
N>
END
resize 60
clear

# -- interrupts --
tm send-keys -t t -l 'loop' && keys Enter
wait_for 'around and around'
keys C-c
wait_for 'rill-chat: stopped'
prompt
ok 'an answer is stopped' $?
clear
tm send-keys -t t -l 'never sent' && wait_for 'never sent'
keys C-c
prompt
ok 'a line is dropped' $?

# -- a paste of a megabyte, read and thought better of --
yes 'many lines of text in a paste ' | head -c 1000000 >"$T/paste"
tm load-buffer -b big "$T/paste"
clear
tm paste-buffer -p -b big -t t
wait_for '\[paste 1: 32259 lines, 1000000 bytes\]$'
ok 'a paste of a megabyte' $?
keys Enter
wait_for 'reading +[0-9]'
keys C-c
wait_for 'taken back'
prompt
ok 'reading is stopped' $?
! grep -q 'many lines' "$T/state/rill/chats/one.jsonl"
ok 'an entry that was taken back is not in the session' $?
clear
printf 'two\nlines of wide' >"$T/paste"
tm load-buffer -b small "$T/paste"
tm paste-buffer -p -b small -t t
wait_for '\[paste 2: 2 lines, 17 bytes\]$'
say ''
grep -q '"content":"two\\nlines of wide"' "$T/state/rill/chats/one.jsonl"
ok 'a small paste is what was pasted' $?
end 'a conversation'

# -- tools: asked, refused, allowed for good --
start 60 20 "$chat --tools tools.json --exec now='tr a-z A-Z'"
clear
keys T i m e Enter
wait_for 'ways:$'
keys n Enter
prompt
keys T i m e Enter
wait_for 'ways:$'
keys a Enter
prompt
say 'Time again'
shows 'tools are asked about' <<'END'
N> Time
now {"zone":"UTC"}
run now? [y]es, [n]o, [a]lways: n
= error: the user does not allow this call
It is twelve o'clock.
N> Time
now {"zone":"UTC"}
run now? [y]es, [n]o, [a]lways: a
= {"ZONE":"UTC"}
It is twelve o'clock.
N> Time again
now {"zone":"UTC"}
= {"ZONE":"UTC"}
It is twelve o'clock.
N>
END
end 'tools'

# -- a session that goes on --
start 60 20 "$chat --resume one"
shows 'where one was' <<'END'
rill-chat: 20 messages, the first N of N tokens ready
> two
lines of wide
日本語のテキスト、改行 emoji 😀 é 한국어.
rill-chat: script; /help lists commands, Ctrl-D ends
N>
END
tm send-keys -t t -l 'history of one is kept'
keys C-u Up Up
wait_for 'never sent|wide|Time'
ok 'history is kept' $?
keys C-u
prompt
end 'the session'

# -- the end of the context: said, and the conversation stays as it was --
start 70 20 "$chat -c 64"
say think
say 'far too long, far too long, far too long, far too long, far too long'
screen | grep -q 'too long (/undo, or -c for more): the prompt has' &&
    screen | tail -n 1 | grep -q '^2[0-9]/64>$'
ok 'the end of the context' $?
end 'the end of the context'

# -- a dumb terminal: the line is the terminal's own --
start 50 20 "TERM=dumb $chat"
say think
screen | grep -q '^Let me think about this'
ok 'a dumb terminal' $?
tm send-keys -t t -l loop && keys Enter
wait_for 'around and around'
keys C-c
wait_for 'stopped'
prompt
tm send-keys -t t -l dropped && wait_for dropped
keys C-c
prompt
say wide
screen | tail -n 2 | grep -q '^日本語のテキスト、改行 emoji 😀 é 한국어.'
ok 'a dumb terminal, after interrupts' $?
end 'a dumb terminal'

rm -rf "$T"
echo "cli/chat-tmux: $passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
