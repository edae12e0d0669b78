#!/usr/bin/env python3
"""ref-jinja.py - what the reference (jinja2 3.1) makes of templates, for tests/text/test_jinja.c.

    python3 scripts/ref-jinja.py [TESTDATA]      # writes tests/golden/text/jinja-*.json

jinja-own.json: templates written here, each with its context and its text, or null where the
reference refuses. jinja-templates.json: conversations, and per released template of the test data a
hash (FNV-1a, 64 bits) of what it makes of each, null where it refuses. The environment is the one
chat templates are released for: immutable sandbox, trim_blocks, lstrip_blocks, loop controls, a
plain tojson, generation blocks; the clock stands at 2025-07-10 12:00 UTC. Needs jinja2 only.
"""
import datetime
import glob
import json
import os
import sys

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "tests", "golden", "text")
NOW = datetime.datetime(2025, 7, 10, 12, 0, 0)


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_same"), [], [], body).set_lineno(line)

    def _same(self, caller):
        return caller()


def environment():
    e = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    e.filters["tojson"] = tojson
    e.globals["raise_exception"] = raise_exception
    e.globals["strftime_now"] = NOW.strftime
    return e


def render(template, context):
    try:
        return environment().from_string(template).render(**context)
    except Exception:  # whatever it refuses with
        return None


def fnv(text):
    h = 0xCBF29CE484222325
    for b in text.encode():
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return "%016x" % h


CTX = {
    "s": "Hello, Wörld!", "e": "", "n": 42, "neg": -7, "f": 2.5, "t": True, "no": None,
    "xs": [3, 1, 2], "words": ["pear", "Apple", "fig"], "d": {"b": 1, "a": 2, "items": 9},
    "people": [{"name": "Ann", "age": 31, "tag": {"x": 1}}, {"name": "bob", "age": 25},
               {"name": "Cy", "age": 31, "tag": {"x": 2}}],
    "nested": [[1, 2], [3, [4, 5]]], "html": "<b>&'\"</b>", "sp": "  a\t b\n",
    "lines": "one\n\ntwo\r\nthree\n", "uni": "Straße ǆ ﬁ ΑΣ İ", "emoji": "a🤗b",
    "big": 9007199254740993, "floats": [0.1, 1e16, 1e-5, 123456789.125, -0.0, 3.0],
}

# Each is one case; the context is CTX. Those that both refuse are worth as much.
OWN = r"""
plain text
{{ s }}|{{ e }}|{{ n }}|{{ f }}|{{ t }}|{{ no }}|{{ xs }}|{{ d }}|{{ missing }}|
{{ floats }}|{{ big }}|{{ big + 1 }}|{{ 1e3 }}|{{ 1_000 }}|{{ 0x1F }}|{{ 0b101 }}|{{ 0o17 }}|{{ 1.5e-7 }}
{{ 7 // 2 }}|{{ -7 // 2 }}|{{ 7 % -3 }}|{{ -7 % 3 }}|{{ 2 ** 10 }}|{{ 2 ** -1 }}|{{ 2 ** 3 ** 2 }}|{{ 7 / 2 }}
{{ 7.5 // 2 }}|{{ -7.5 // 2 }}|{{ 7.5 % -2 }}|{{ -0.0 }}|{{ 1 / 3 }}|{{ 1e308 * 10 }}
{{ 'a' * 3 }}|{{ [1] * 2 }}|{{ 3 * 'ab' }}|{{ (1,) + (2,) }}|{{ [1] + [2] }}|{{ 'x' ~ 1 ~ none ~ missing }}
{{ 1 < 2 < 3 }}|{{ 1 < 3 < 2 }}|{{ 'a' < 'b' }}|{{ [1, 2] < [1, 3] }}|{{ 1 == 1.0 == true }}|{{ 1 is eq 1 }}
{{ 1 < 'a' }}
{{ 1 + 'a' }}
{{ missing + 1 }}
{{ missing.x }}
{{ missing.x.y }}
{{ missing[0] }}
{{ missing() }}
{{ s() }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ d.a }}|{{ d['a'] }}|{{ d.items() | list }}|{{ d['items'] }}|{{ d.zzz }}|{{ d.get('zzz', 5) }}|{{ d.get('a') }}
{{ d.keys() | list }}|{{ d.values() | list }}|{{ d.keys() }}|{{ d | length }}|{{ 'a' in d }}|{{ d | list }}
{{ d.update({'q': 1}) }}
{{ xs.append(4) }}
{{ xs.pop() }}
{{ s.__class__ }}
{{ s.__class__.__mro__ }}
{{ xs.count(1) }}|{{ xs.index(2) }}|{{ xs[0] }}|{{ xs[-1] }}|{{ xs[9] }}|{{ xs.0 }}|{{ xs['0'] }}
{{ xs[1:] }}|{{ xs[:-1] }}|{{ xs[::-1] }}|{{ xs[::2] }}|{{ xs[5:] }}|{{ s[1:4] }}|{{ s[::-1] }}|{{ s[-3:] }}|{{ s[7] }}
{{ emoji[1] }}|{{ emoji | length }}|{{ emoji[::-1] }}|{{ emoji.find('b') }}|{{ emoji.split('🤗') }}
{{ xs[::0] }}
{{ missing[1:] }}
{{ (1, 2)[0] }}|{{ (1,) }}|{{ () }}|{{ 1, 2 }}|{{ {'a': 1, 2: [3]} }}|{{ [1, 'a', none, true, 2.0] }}
{{ "it's" | list | first }}|{{ ["it's", 'say "hi"', "both ' and \""] }}|{{ ['\n\t\\', '\x01é\u200b🤗'] }}
{{ 'a' 'b' "c" }}|{{ '\x41\u00e9\U0001F917\101' }}|{{ 'a\
b' }}|{{ '\q' }}
{{ 'yes' if t else 'no' }}|{{ 'yes' if not t }}|{{ 'a' if e else 'b' if n else 'c' }}
{{ t and n }}|{{ e or n }}|{{ e and n }}|{{ not e }}|{{ not not n }}|{{ t or missing.x }}
{{ 1 in xs }}|{{ 9 not in xs }}|{{ 'ell' in s }}|{{ 'x' in missing }}|{{ not 1 in xs }}|{{ 1.0 in xs }}
{{ 1 in 'a' }}
{{ 1 in 5 }}
{% if n > 40 %}big{% elif n > 10 %}mid{% else %}small{% endif %}
{% if missing %}a{% elif no %}b{% elif '' %}c{% elif [] %}d{% elif 0 %}e{% elif {} %}f{% else %}none{% endif %}
{% for x in xs %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}:{{ x }};{% endfor %}
{% for x in xs %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }},{% endfor %}
{% for x in xs if x > 1 %}{{ loop.index }}{{ x }}{% else %}none{% endfor %}|{% for x in xs if x > 9 %}{{ x }}{% else %}none{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}|{% for k in d %}{{ k }}{% endfor %}
{% for a, (b, c) in [[1, [2, 3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, b in [[1]] %}{% endfor %}
{% for a, b in [[1, 2, 3]] %}{% endfor %}
{% for c in emoji %}[{{ c }}]{% endfor %}
{% for x in missing %}x{% else %}empty{% endfor %}
{% for x in no %}x{% endfor %}
{% for x in 5 %}x{% endfor %}
{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in xs recursive %}{{ x }}{% endfor %}|{% for i in nested recursive %}{{ '(' ~ loop(i) ~ ')' if i is iterable else i }}@{{ loop.depth }}{% endfor %}
{% for x in xs %}{{ loop.cycle('odd', 'even') }}{% if loop.changed(x > 1) %}*{% endif %}{% endfor %}
{% for x in xs %}{% for y in xs %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}
{% set a = 1 %}{% for x in xs %}{% set a = a + x %}{{ a }}{% endfor %}{{ a }}
{% set ns = namespace(a=1, b='x') %}{% for x in xs %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.zzz }}
{% set ns = namespace({'a': 1}) %}{% set ns.c, ns.d = 1, 2 %}{{ ns.a }}{{ ns.c }}{{ ns.d }}
{% set d.x = 1 %}
{% set x, y = 1, 2 %}{{ x }}{{ y }}{% set x, y = y, x %}{{ x }}{{ y }}{% set (p, q) = 'ab' %}{{ p }}{{ q }}
{% if t %}{% set a = 5 %}{% endif %}{{ a }}
{% set a %}block {{ n }}{% endset %}[{{ a }}]{% set b | upper | trim %} mixed {% endset %}[{{ b }}]
{% with a = 1, b = n %}{{ a }}{{ b }}{% set c = 3 %}{{ c }}{% endwith %}{{ a }}{{ c }}
{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}|{{ m(1, c=5) }}|{{ m(b=1) }}|{{ m.name }}{{ m.arguments }}
{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}
{% macro m(a) %}{{ a.b }}{% endmacro %}{{ m() }}
{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in {{ n }}{% endcall %}
{% macro m(xs) %}{% for x in xs %}{{ caller(x, loop.index) }}{% endfor %}{% endmacro %}{% call(x, i) m(xs) %}{{ i }}:{{ x }} {% endcall %}
{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}
{% macro r(n) %}{{ n }}{% if n > 0 %}{{ r(n - 1) }}{% endif %}{% endmacro %}{{ r(5) }}
{% macro outer() %}{% set v = 'local' %}{% macro inner() %}{{ v }}{% endmacro %}{{ inner() }}{% endmacro %}{{ outer() }}{{ v }}
{% macro m() %}{{ n }}{{ late }}{% endmacro %}{% set late = 'L' %}{{ m() }}
{% macro args() %}{{ varargs | join('-') }}{% endmacro %}{{ args(*xs) }}|{% macro kw(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ kw(**{'a': 1, 'b': 2}) }}
{% filter upper %}abc {{ n }}{% endfilter %}|{% filter replace('a', 'b') | upper %}aa{% endfilter %}
{% generation %}{% set g = 1 %}gen{{ g }}{% endgeneration %}{{ g }}
{% autoescape false %}{{ html }}{% endautoescape %}
{% raw %}{{ not }} {% this %}{% endraw %}|{%- raw -%}  x  {%- endraw -%}|
{# comment #}a{#- trimmed -#}   b
{% print n, s %}
   {% if t %}
  indented
   {% endif %}
end
a {%- if t -%} b {%- endif -%} c
  {%+ if t %}kept{% endif %}
{% if t +%}
newline kept
{% endif %}
{{ s }}
	{% set x = 1 %}  
{{- ' tight ' -}}   x
{{ n|string + 'x' }}|{{ n|float }}|{{ '3.7'|int }}|{{ '0x1f'|int(base=16) }}|{{ 'z'|int(-1) }}|{{ ' 12 '|int }}|{{ 3.99|int }}|{{ 'nan'|float }}|{{ '1e3'|float }}|{{ 'q'|float(1.5) }}
{{ s | upper }}|{{ s | lower }}|{{ s | title }}|{{ s | capitalize }}|{{ uni | upper }}|{{ uni | lower }}|{{ uni | title }}|{{ uni.title() }}|{{ uni.swapcase() }}|{{ uni.capitalize() }}
{{ sp | trim }}|{{ sp.strip() }}|{{ sp.lstrip() }}|{{ sp.rstrip() }}|{{ 'xxaxx' | trim('x') }}|{{ 'xyaxy'.strip('yx') }}|{{ s.rstrip('!d') }}
{{ 'a,b,c'.split(',') }}|{{ 'a,b,c'.split(',', 1) }}|{{ 'a,b,c'.rsplit(',', 1) }}|{{ '  a  b '.split() }}|{{ '  a  b c '.split(none, 1) }}|{{ '  a  b c '.rsplit(none, 1) }}|{{ ''.split() }}|{{ ''.split(',') }}
{{ 'a'.split('') }}
{{ lines.splitlines() }}|{{ lines.splitlines(true) }}|{{ 'a-b-c'.partition('-') }}|{{ 'a-b-c'.rpartition('-') }}|{{ 'abc'.partition('x') }}
{{ s.startswith('He') }}|{{ s.endswith(('x', '!')) }}|{{ s.startswith('l', 2) }}|{{ s.find('l') }}|{{ s.rfind('l') }}|{{ s.find('zz') }}|{{ s.index('W') }}|{{ s.count('l') }}|{{ 'aaa'.count('a', 1) }}|{{ 'abc'.count('') }}
{{ s.index('zz') }}
{{ s.replace('l', 'L') }}|{{ s.replace('l', 'L', 1) }}|{{ 'abc'.replace('', '-') }}|{{ s | replace('l', 'L', 2) }}|{{ 12321 | replace(2, 'x') }}
{{ 'ab'.removeprefix('a') }}{{ 'ab'.removesuffix('b') }}{{ 'ab'.removeprefix('z') }}|{{ '7'.zfill(3) }}|{{ '-7'.zfill(4) }}|{{ 'a'.center(4, '*') }}|{{ 'a'.center(5) }}|{{ 'a'.ljust(3) }}|{{ 'a'.rjust(3, '0') }}|{{ 'a\tb'.expandtabs(4) }}
{{ 'abc'.isalpha() }}{{ 'ab1'.isalnum() }}{{ '12'.isdigit() }}{{ ''.isdigit() }}{{ ' \n'.isspace() }}{{ 'aB'.islower() }}{{ 'AB1'.isupper() }}{{ 'Ab Cd'.istitle() }}{{ 'é'.isascii() }}{{ '½'.isnumeric() }}{{ 'a_1'.isidentifier() }}
{{ '-'.join(['a', 'b']) }}|{{ '-'.join('abc') }}|{{ xs | join('-') }}|{{ people | join(', ', attribute='name') }}|{{ missing | join(',') }}
{{ '-'.join([1]) }}
{{ xs | sort }}|{{ xs | sort(reverse=true) }}|{{ words | sort }}|{{ words | sort(case_sensitive=true) }}|{{ people | sort(attribute='age') | map(attribute='name') | list }}|{{ people | sort(attribute='age,name', reverse=true) | map(attribute='name') | list }}
{{ [1, 'a'] | sort }}
{{ [none, none] | sort }}
{{ xs | first }}|{{ xs | last }}|{{ [] | first }}|{{ xs | min }}|{{ xs | max }}|{{ words | max }}|{{ people | max(attribute='age') }}|{{ [] | max }}|{{ xs | sum }}|{{ people | sum(attribute='age') }}|{{ xs | sum(start=10) }}
{{ xs | reverse | list }}|{{ s | reverse }}|{{ [1, 2, 1, 'A', 'a'] | unique | list }}|{{ xs | length }}|{{ xs | count }}|{{ s | list | length }}
{{ n | length }}
{{ people | selectattr('tag') | map(attribute='name') | list }}|{{ people | rejectattr('tag') | map(attribute='name') | list }}|{{ people | selectattr('age', 'gt', 30) | map(attribute='name') | join(',') }}|{{ people | map(attribute='tag.x', default='-') | list }}
{{ xs | select('odd') | list }}|{{ xs | reject('odd') | list }}|{{ [0, 1, none, 2] | select | list }}|{{ words | map('upper') | list }}|{{ words | map('replace', 'p', 'q') | list }}|{{ no | map('upper') | list }}
{{ xs | map('nofilter') | list }}
{% set g = xs | map('string') %}{{ g | list }}{{ g | list }}
{{ people | groupby('age') | length }}|{% for age, ps in people | groupby('age') %}{{ age }}:{{ ps | map(attribute='name') | join('+') }};{% endfor %}|{% for g in people | groupby('age') %}{{ g.grouper }}{{ g.list | length }}{% endfor %}
{{ d | dictsort }}|{{ d | dictsort(by='value') }}|{{ d | dictsort(reverse=true) }}|{{ d | items | list }}|{{ missing | items | list }}
{{ xs | batch(2) | list }}|{{ xs | batch(2, 'x') | list }}|{{ range(7) | slice(3) | list }}|{{ range(7) | slice(3, 'x') | list }}
{{ missing | default('D') }}|{{ e | default('D') }}|{{ e | default('D', true) }}|{{ no | d('D') }}|{{ missing | default }}|{{ d.x | default('D') }}
{{ missing.x | default('D') }}
{{ 3.14159 | round(2) }}|{{ 2.5 | round }}|{{ 3.5 | round }}|{{ 5 | round }}|{{ 2.1 | round(0, 'ceil') }}|{{ 2.9 | round(method='floor') }}|{{ -3 | abs }}|{{ -2.5 | abs }}|{{ 1234 | round(-2) }}
{{ s | indent }}|{{ lines | indent(2) }}|{{ lines | indent(2, true) }}|{{ lines | indent(2, blank=true) }}|{{ 'a\nb' | indent('> ') }}
{{ d | tojson }}|{{ xs | tojson }}|{{ people | tojson(indent=2) }}|{{ emoji | tojson }}|{{ emoji | tojson(ensure_ascii=true) }}|{{ d | tojson(sort_keys=true) }}|{{ d | tojson(separators=(',', ':')) }}|{{ html | tojson }}|{{ floats | tojson }}|{{ {1: none, true: 2.5} | tojson }}|{{ [] | tojson(indent=1) }}|{{ '\x7f\x1f' | tojson(ensure_ascii=true) }}
{{ missing | tojson }}
{{ xs | map('string') | tojson }}
{{ html | e }}|{{ html | escape | escape }}|{{ html | safe }}|{{ (html | e) + '<' }}|{{ '<' + ('>' | safe) }}|{{ html | forceescape }}|{{ html | striptags }}|{{ html | urlencode }}|{{ {'a b': 'c&d'} | urlencode }}
{{ '%s is %d, %5.2f|%-5s|%05d|%x|%r|%%' | format('a', 3, 2.5, 'b', 42, 255, 'q') }}|{{ '%s' % n }}|{{ '%(a)s' % {'a': 1} }}|{{ '%s %s' % ('a', 'b') }}|{{ '%e' % 12345.678 }}|{{ '%+d' % 5 }}
{{ '%d' % 'x' }}
{{ '%s %s' % 'x' }}
{{ '%s' % (1, 2) }}
{{ '{} {}'.format(1, 'a') }}|{{ '{1}{0}'.format(1, 2) }}|{{ '{a:>5}|{b:.2f}|{c:05d}|{c:,}|{c:x}|{c:#x}'.format(a='x', b=2.5, c=12345) }}|{{ '{{}}'.format() }}|{{ '{0[a]}'.format(d) }}|{{ '{:^7}|{:*<4}|{!r}'.format('a', 'b', 'c') }}|{{ '{:.1%}'.format(0.25) }}|{{ '{}'.format(2.0) }}|{{ '{:e}'.format(5) }}
{{ '{}'.format() }}
{{ '{0.__class__}'.format(s) }}
{{ s | truncate(5) }}|{{ s | truncate(5, leeway=0) }}|{{ s | truncate(9, true, leeway=0) }}|{{ 'a b c d e f g h' | truncate(8, end='~', leeway=0) }}|{{ s | wordcount }}|{{ 'x' | center(5) }}|{{ 1000000 | filesizeformat }}|{{ 1536 | filesizeformat(true) }}|{{ 1 | filesizeformat }}
{{ n is number }}{{ n is integer }}{{ f is float }}{{ t is boolean }}{{ s is string }}{{ d is mapping }}{{ xs is sequence }}{{ xs is iterable }}{{ n is iterable }}{{ no is none }}{{ missing is undefined }}{{ s is defined }}{{ t is true }}{{ t is false }}{{ n is even }}{{ n is odd }}{{ n is divisibleby 7 }}{{ n is divisibleby(5) }}
{{ n is eq 42 }}{{ n is ne 42 }}{{ n is gt 3 }}{{ n is lt 3 }}{{ n is ge(42) }}{{ n is le 1 }}{{ 1 is in [1] }}{{ 'a' is lower }}{{ 'A' is upper }}{{ no is sameas none }}{{ range is callable }}{{ n is not none }}{{ 'upper' is filter }}{{ 'odd' is test }}{{ s is escaped }}{{ missing is defined and missing.x }}
{{ n is nosuch }}
{{ n | nosuch }}
{% if false %}{{ n | nosuch }}{% endif %}ok
{{ range(5) }}|{{ range(1, 10, 3) | list }}|{{ range(3)[1] }}|{{ range(0) | list }}|{{ 3 in range(5) }}|{{ range(5) | length }}|{{ range(5)[1:3] }}
{{ range(1000000) }}
{{ dict(a=1, b=2) }}|{{ dict([['x', 1]]) }}|{{ dict({'a': 1}, b=2) }}
{% set j = joiner(', ') %}{% for x in xs %}{{ j() }}{{ x }}{% endfor %}|{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}
{{ strftime_now('%d %b %Y|%Y-%m-%d|%H:%M:%S|%A %B|%j|%I%p|%a|%-d|%U|%W|%u%w|%y|%%|%G-%V') }}
{{ raise_exception('no') }}
{{ nested | map('first') | list }}|{{ nested.1.1.0 }}|{{ people[0].tag.x }}|{{ people[1].tag }}|{{ people | attr('x') }}|{{ d | attr('a') }}
{{ people[1].tag.x }}
{{ loop }}
{{ {'a': {'b': [1, {'c': 2}]}}.a.b[1].c }}|{{ {'x': 1}['x'] }}|{{ [1, 2][1] }}|{{ 'abc'[1] }}|{{ {'k': 'v'}.k | upper }}
{{ -n }}|{{ +n }}|{{ -n | abs }}|{{ - -n }}|{{ 2 - -1 }}|{{ -2 ** 2 }}|{{ not n == 42 }}|{{ -true }}
{{ 5 - 2 - 1 }}|{{ 2 + 3 * 4 }}|{{ (2 + 3) * 4 }}|{{ 10 - 4 / 2 }}|{{ 7 % 4 * 2 }}|{{ 'a' ~ 'b' * 2 }}
{{ 1 ~ 2 + 3 }}
{{ n if n else
   'multi' }}|{{ [1,
  2] }}
{% if x is defined and x %}a{% endif %}{% if not x is defined %}b{% endif %}{% if x is not defined or x.y %}c{% endif %}
{% include 'x' %}
{% extends 'x' %}
{% import 'x' as y %}
{% unknown %}
{% if t %}
{{ 'unclosed }}
{{ (1 }}
{{ 1 2 }}
{{ }}
{% for x in %}{% endfor %}
{% set true = 1 %}
{% endif %}
{% for x in xs %}{% endif %}
{{ a b }}
{# unclosed
{{ [1, 2 }}
{{ {'a': {'b': 1}} }}|{{ {'a': {}}}}
{% set s = s ~ '!' %}{{ s }}{{ '%' }}{{ '}}' }}{{ '%}' }}{{ "{%" }}
{{ messages }}{{ none }}{{ None }}{{ True }}{{ TRUE }}
{{ xs | tojson | safe }}{{ '' | safe }}{{ 'a' | safe ~ '<' }}
{% for m in people %}{%- if loop.first and m.age > 30 %}{% set h = m.name %}{%- endif -%}{{ h }}{% endfor %}{{ h }}
{%- macro render(v, depth=0) -%}{%- if v is mapping -%}{ {%- for k, x in v.items() -%}{{ k }}:{{ render(x, depth + 1) }}{%- if not loop.last -%},{%- endif -%}{%- endfor -%} }{%- elif v is string -%}"{{ v }}"{%- elif v is iterable -%}[{%- for x in v -%}{{ render(x, depth + 1) }};{%- endfor -%}]{%- else -%}{{ v }}{%- endif -%}{%- endmacro -%}{{ render(people) }}
""".strip("\n")


def own_templates():
    """One case per line, but a line goes on where a delimiter, a block or a string is open."""
    group, cases = [], []
    keep = {"{{ n if n else": 3, "   {% if t %}": 4, "{% if t +%}": 3, "{{ s }}": 3,
            "{{ 'a' 'b' \"c\" }}": 2}
    lines = OWN.split("\n")
    i = 0
    while i < len(lines):
        n = next((k for p, k in keep.items() if lines[i] == p or
                  (p != "{{ s }}" and lines[i].startswith(p))), 1)
        group = lines[i:i + n]
        cases.append("\n".join(group))
        i += n
    return cases


def conversations():
    system = {"role": "system", "content": "You are a helpful assistant."}
    user = {"role": "user", "content": "What is the weather in Paris?\n"}
    last = {"role": "user", "content": "Thanks! <|im_end|> </s> 🤗"}
    said = {"role": "assistant", "content": "  It is fine. "}
    thought = {"role": "assistant", "content": "Fine.", "reasoning_content": "Let me see.\n"}
    inline = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nFine."}
    args = {"city": "Paris", "days": 3, "units": None, "exact": True, "step": 1e-7}
    call = {"id": "call00001", "type": "function",
            "function": {"name": "get_weather", "arguments": args}}
    told = {"id": "call00001", "type": "function",
            "function": {"name": "get_weather", "arguments": json.dumps(args)}}
    result = {"role": "tool", "tool_call_id": "call00001", "name": "get_weather",
              "content": "{\"sky\": \"clear\"}"}
    params = {"type": "object", "properties": {
        "city": {"type": "string", "description": "A city's \"name\"\n<b>é</b>"},
        "days": {"type": "integer", "default": 3}, "units": {"type": ["string", "null"], "enum": ["c", "f"]},
        "box": {"type": "object", "properties": {"x": {"type": "array", "items": {"type": "number"}}},
                "required": ["x"]}}, "required": ["city"]}
    tools = [{"type": "function", "function": {
        "name": "get_weather", "description": "The weather", "parameters": params,
        "return": {"type": "string"}}},
        {"type": "function", "function": {"name": "noop", "description": "", "parameters": {
            "type": "object", "properties": {}}}}]
    base = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True,
            "tools": None, "documents": None}

    def c(*messages, **more):
        return {**base, "messages": list(messages), **more}

    calling = {"role": "assistant", "content": "", "tool_calls": [call]}
    calling_text = {"role": "assistant", "content": None, "tool_calls": [told]}
    two = {"role": "assistant", "content": "Both.", "tool_calls": [call, {**call, "id": "call00002"}]}
    return {
        "one": c(user),
        "system": c(system, user, said, last),
        "no-prompt": c(system, user, said, add_generation_prompt=False),
        "prefill": c(user, said),
        "thinking": c(system, user, thought, last, enable_thinking=True, thinking=True),
        "no-thinking": c(user, inline, last, enable_thinking=False, reasoning_effort="high"),
        "tools": c(system, user, tools=tools),
        "call": c(system, user, calling, result, tools=tools),
        "call-text": c(user, calling_text, result, said, last, tools=tools),
        "two-calls": c(user, two, result, {**result, "tool_call_id": "call00002"}, tools=tools),
        "parts": c({"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image"},
                                                {"type": "text", "text": " this"}]}),
        "documents": c(user, documents=[{"title": "T", "text": "Body", "doc_id": 1}]),
        "wrong-order": c(user, user),
        "unknown-role": c({"role": "narrator", "content": "x"}),
        "bare": {"messages": [user]},
    }


def released(testdata):
    d = os.path.join(testdata, "templates")
    for path in sorted(glob.glob(d + "/jinja/*") + glob.glob(d + "/mistral-common/*")):
        with open(path, newline="") as f:
            yield os.path.relpath(path, d), f.read()
    with open(d + "/ollama/templates.jsonl") as f:
        for line in f:
            for name, template in json.loads(line).items():
                yield "ollama/templates.jsonl#" + name, template


def main():
    testdata = sys.argv[1] if len(sys.argv) > 1 else os.environ.get(
        "RILL_TESTDATA", os.path.join(HERE, "..", "..", "shared", "data"))
    own = [{"template": t, "text": render(t, CTX)} for t in own_templates()]
    with open(os.path.join(OUT, "jinja-own.json"), "w") as f:
        json.dump({"context": CTX, "cases": own}, f, indent=1, ensure_ascii=False)
        f.write("\n")
    talks = conversations()
    hashes = {name: [None if (r := render(t, c)) is None else fnv(r) for c in talks.values()]
              for name, t in released(testdata)}
    with open(os.path.join(OUT, "jinja-templates.json"), "w") as f:
        f.write('{"conversations": %s,\n"templates": {\n' % json.dumps(talks, indent=1, ensure_ascii=False))
        f.write(",\n".join("%s: %s" % (json.dumps(n), json.dumps(h)) for n, h in hashes.items()))
        f.write("}}\n")
    print(len(own), "own,", sum(c["text"] is None for c in own), "refused;", len(hashes),
          "released templates in", len(talks), "conversations,",
          sum(h is None for v in hashes.values() for h in v), "refused")


if __name__ == "__main__":
    main()
