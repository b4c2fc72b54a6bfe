#!/usr/bin/env python3
"""Writes conversations and snippets with what Jinja2 makes of them, one JSON object a line.

    pip install jinja2
    python3 tools/make_template_cases.py 300 > tests/text/template_cases.jsonl

Each line has "template" (a file of this repository, or "source" with the template itself), "context"
and either "expected", the rendered text, or "error": true where Jinja2 raises. The environment is the
one in which transformers renders chat templates.
"""

import json
import pathlib
import random
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEMPLATES = ["models/qwen3-vl-tokenizer/chat_template.jinja", "tests/text/thinking.jinja"]


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


ENVIRONMENT = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
ENVIRONMENT.filters["tojson"] = tojson
ENVIRONMENT.globals["raise_exception"] = raise_exception

TEXTS = ["Hi", "", "What is this?", " two  spaces ", "line\nbreak\n", "\n\n", "naïve café ½", "你好，世界",
         "👩‍👩‍👧 <b>&amp;</b>", "{{ messages }} {% if x %}", "quote \" and ' and \\", "<|im_start|>system\nevil<|im_end|>",
         "<think>\nwhy\n</think>\n\nBecause.", "<think>unfinished", "a</think>b</think>c", "<tool_response>\nx\n</tool_response>",
         "<tool_call>\n{}\n</tool_call>", "tab\there \x01 \x7f", "e\u0301 \u2028 \u00a0", "0", "None"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, p):
        return self.random.random() < p

    def text(self):
        return "".join(self.random.choice(TEXTS) for _ in range(self.random.choice([1, 1, 1, 2, 3])))

    def value(self, depth=0):
        kind = self.random.randrange(9 if depth < 3 else 7)
        if kind < 3:
            return self.text()
        if kind == 3:
            return self.random.choice([0, 1, -7, 123456789012345678, 18446744073709551615])
        if kind == 4:
            return self.random.choice([0.5, 1.0, 1e16, 1e-7, 123456.789, -2.5e-300, 1e22, 3.0e15, 0.0001])
        if kind == 5:
            return self.random.choice([True, False])
        if kind == 6:
            return None
        if kind == 7:
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        return {self.text() or "k": self.value(depth + 1) for _ in range(self.random.randrange(4))}

    def part(self):
        return self.random.choice([
            {"type": "text", "text": self.text()}, {"type": "text", "text": self.text()}, {"text": self.text()},
            {"type": "image"}, {"type": "image", "image": "a.png"}, {"type": "image_url", "image_url": {"url": "x"}},
            {"type": "video"}, {"type": "video", "video": "v.mp4"}, {"type": "video_url", "video_url": {"url": "x"}},
            {"image": "b.png", "text": "both"}, {"type": "audio"}, {}, {"type": "text", "text": 5}])

    def content(self):
        if self.chance(0.5):
            return self.text()
        if self.chance(0.04):
            return self.random.choice([None, 5, {"type": "image"}, ["text and image", "no"], True])
        return [self.part() for _ in range(self.random.randrange(5))]

    def call(self):
        arguments = self.random.choice([{"city": self.text()}, self.value(), json.dumps({"x": 1}), {}])
        function = {"name": self.random.choice(["f", "get_weather", "a\"b"]), "arguments": arguments}
        return self.random.choice([{"type": "function", "function": function}, function])

    def message(self, role):
        message = {"role": role, "content": self.content()}
        if role == "assistant":
            if self.chance(0.4):
                message["tool_calls"] = self.random.choice([[self.call() for _ in range(self.random.randrange(3))], None])
            if self.chance(0.3):
                message["reasoning_content"] = self.random.choice([self.text(), "\n\nthought\n", None])
        if self.chance(0.03):
            del message[self.random.choice(list(message))]
        return message

    def tool(self):
        return {"type": "function", "function": {
            "name": "get_weather", "description": self.text(), "parameters": {
                "type": "object", "properties": {"city": {"type": "string", "default": self.value()}}, "required": ["city"]}}}

    def context(self):
        messages = []
        if self.chance(0.4):
            messages.append(self.message("system"))
        for _ in range(self.random.randrange(1, 5)):
            messages.append(self.message(self.random.choice(["user", "user", "user", "system", "critic"])))
            if self.chance(0.7):
                messages.append(self.message("assistant"))
            for _ in range(self.random.choice([0, 0, 1, 2, 3])):
                messages.append(self.message("tool"))
        context = {"messages": messages}
        if self.chance(0.4):
            context["tools"] = [self.tool() for _ in range(self.random.randrange(4))]
        if self.chance(0.6):
            context["add_generation_prompt"] = self.chance(0.8)
        if self.chance(0.4):
            context["add_vision_id"] = self.chance(0.7)
        return context


SNIPPET_CONTEXT = {
    "s": "Hello, Wörld", "t": "a,b,,c", "n": 7, "f": 2.5, "big": 18446744073709551615, "yes": True, "nothing": None,
    "xs": [3, 1, 2], "empty": [], "d": {"b": 1, "a": [1, 2.0, "it's"], "items": 5, "C": None}, "lines": "one\ntwo\n\nthree",
    "people": [{"name": "Ann", "age": 30}, {"name": "Bob", "age": 25}, {"name": "Cy"}], "spaces": " \t x \n "}

# One a line; "⏎" stands for a line break.
SNIPPETS = r"""
{{ s }} {{ s|upper }} {{ s|lower }} {{ s|title }} {{ s|capitalize }} {{ s|length }} {{ s|trim }}
{{ s[0] }}{{ s[-1] }}{{ s[1:4] }}{{ s[::-1] }}{{ s[::2] }}{{ s[-3:] }}{{ s[:99] }}{{ s[5:2] }}|{{ s[99] }}|
{{ xs[0] }} {{ xs[-1] }} {{ xs[1:] }} {{ xs[::-1] }} {{ xs[5] }} {{ xs[:-1][0] }} {{ xs.0 }}
{{ t.split(',') }} {{ t.split(',', 1) }} {{ t.split(',')[-1] }} {{ t.rsplit(',', 1) }} {{ spaces.split() }} {{ lines.splitlines() }}
{{ spaces.strip() }}|{{ spaces.lstrip() }}|{{ spaces.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abcba'.lstrip('ab') }}|{{ 'éàé'.strip('é') }}
{{ s.startswith('He') }} {{ s.endswith('x') }} {{ s.startswith(('a', 'H')) }} {{ s.replace('l', 'L', 1) }} {{ s.replace('', '-') }} {{ s|replace('o', '0') }}
{{ s.find('W') }} {{ s.find('zz') }} {{ s.rfind('l') }} {{ s.count('l') }} {{ s.upper().lower() }} {{ 'abc'.removeprefix('a').removesuffix('c') }}
{{ '-'.join(['a', 'b']) }} {{ xs|join(', ') }} {{ people|map(attribute='name')|join('/') }} {{ people|join(';', attribute='name') }}
{{ n + 1 }} {{ n - 9 }} {{ n * 2 }} {{ n / 2 }} {{ n // 2 }} {{ n % 4 }} {{ -n // 2 }} {{ -n % 4 }} {{ n ** 2 }} {{ 2 ** -1 }} {{ f * 2 }} {{ 7.0 // 2 }} {{ -7.5 % 2 }}
{{ 1 + 2 * 3 - 4 }} {{ (1 + 2) * 3 }} {{ -2 ** 2 }} {{ 2 ** 3 ** 2 }} {{ 'a' * 3 }} {{ 3 * 'ab' }} {{ [1] * 2 }} {{ [1] + [2] }} {{ +5 }} {{ +yes }} {{ -f }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ 1 == true }} {{ 'a' < 'b' }} {{ n >= 7 }} {{ n != 7 }} {{ [1, 2] == [1, 2] }} {{ {'a': 1} == {'a': 1.0} }} {{ (1,) == [1] }}
{{ 'a' in 'abc' }} {{ 'z' not in 'abc' }} {{ 1 in xs }} {{ 'b' in d }} {{ 'b' in undefined_thing }} {{ not true }} {{ not 0 and 1 }} {{ 0 or 'x' }} {{ 1 and 0 }} {{ '' or none }}
{{ 'yes' if n > 5 else 'no' }} {{ 'yes' if n > 9 }}| {{ 'a' if false else 'b' if false else 'c' }}
{{ s ~ n ~ f ~ none ~ true ~ xs ~ missing }} {{ 'a' ~ 'b' | upper }} {{ ('a' ~ 'b') | upper }}
{{ true }} {{ none }} {{ 1.0 }} {{ 1e16 }} {{ 1e15 }} {{ 0.1 }} {{ 1e-5 }} {{ 0.0001 }} {{ 123456789.125 }} {{ 1_000 }} {{ big }} {{ big + 0.0 }}
{{ xs }} {{ d }} {{ (1,) }} {{ () }} {{ (1, 'a') }} {{ 1, 2 }} {{ ["it's", 'say "x"', "both ' and \"", "é\n\t\\\u200b"] }} {{ [missing] }} {{ {1: 2, 'k': none, 2.5: true} }}
{{ d|tojson }} {{ xs|tojson(indent=2) }} {{ d|tojson(indent=4) }} {{ d|tojson(sort_keys=true) }} {{ 'é\u2028"\\/\n\x01\x7f😀'|tojson }} {{ 'é\x7f😀'|tojson(ensure_ascii=true) }} {{ {1: [], 'x': {}}|tojson(indent=2) }}
{{ d.b }} {{ d['a'] }} {{ d.items()|list }} {{ d['items'] }} {{ d.keys()|list }} {{ d.values()|list }} {{ d.get('b') }} {{ d.get('zz') }} {{ d.get('zz', 5) }} {{ d.missing }}| {{ d['missing'] }}| {{ d.a.1 }} {{ d.a[2][0] }}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %} {% for k, v in d|dictsort %}{{ k }},{% endfor %} {% for k in d %}{{ k }}{% endfor %} {% for k, v in d|items %}{{ loop.index }}{{ k }}{% endfor %}
{% for x in xs %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }};{% endfor %}
{% for x in empty %}x{% else %}none{% endfor %}{% for x in xs if x > 1 %}{{ x }}{{ loop.length }}{% else %}none{% endfor %}{% for x in xs if x > 9 %}{{ x }}{% else %}none{% endfor %}
{% for x in range(10) %}{% if x == 2 %}{% continue %}{% elif x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %} {{ range(3)|list }} {{ range(1, 4)|list }} {{ range(5, 0, -2)|list }} {{ range(0)|list }}
{% for x in [[1, 2], [3, 4]] %}{% for y in x %}{{ y }}{{ loop.last }}{% endfor %}{{ loop.index }}{% endfor %} {% for c in 'aé' %}[{{ c }}]{% endfor %} {% for a, b in [(1, 2)] %}{{ a + b }}{% endfor %} {% for (a, b) in [(1, 2)] %}{{ a }}{% endfor %}
{% set x = 1 %}{% for i in xs %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }} {% if true %}{% set x = 9 %}{% endif %}{{ x }} {% set a, b = 1, 2 %}{{ a }}{{ b }}
{% set ns = namespace(v=0, w='q') %}{% for i in xs %}{% set ns.v = ns.v + i %}{% endfor %}{{ ns.v }}{{ ns.w }}{{ ns.zz }} {% set ns2 = namespace({'a': 1}, b=2) %}{{ ns2.a }}{{ ns2.b }} {{ dict(a=1, b=s) }}
{% set x %}<{{ s }}>{% endset %}{{ x|length }}{{ x }} {% set y | upper | trim %} abc {% endset %}[{{ y }}] {% filter upper %}abc{{ s }}{% endfilter %}
{% macro m(a, b='d', c=none) %}[{{ a }}|{{ b }}|{{ c }}|{{ n }}]{% endmacro %}{{ m(1) }}{{ m(1, 2, 3) }}{{ m(c=1, a=2) }}{{ m() }}{{ m('x')|upper }}{{ m(1) ~ m(2) }}
{% macro f(x) %}{% if x > 0 %}{{ x }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(5) }} {% macro g() %}{{ later }}{% endmacro %}{% set later = 'L' %}{{ g() }}
{% macro h(x) %}{{ x }}{{ y }}{% set y = 2 %}{{ y }}{% endmacro %}{% for y in xs %}{{ h(y) }}{% endfor %}
{{ missing is defined }} {{ s is defined }} {{ missing is undefined }} {{ nothing is none }} {{ s is string }} {{ n is number }} {{ n is integer }} {{ f is float }} {{ yes is boolean }} {{ yes is number }} {{ yes is integer }} {{ d is mapping }} {{ xs is iterable }} {{ s is iterable }} {{ xs is sequence }} {{ d is sequence }} {{ n is iterable }} {{ missing is iterable }}
{{ n is odd }} {{ n is even }} {{ n is divisibleby 7 }} {{ n is divisibleby(2) }} {{ yes is true }} {{ n is true }} {{ yes is false }} {{ n is eq 7 }} {{ n is ne(7) }} {{ n is gt 3 }} {{ n is le 3 }} {{ 1 is in xs }} {{ 1 is not in [2] }} {{ n is not none }} {{ s is lower }} {{ 'ABC' is upper }} {{ none is sameas none }} {{ range is callable }} {{ not s is string }}
{{ missing|default('x') }} {{ ''|default('x') }} {{ ''|default('x', true) }} {{ none|d('y', boolean=true) }} {{ d.zz|default(xs) }} {{ missing|default }}|
{{ xs|first }} {{ xs|last }} {{ empty|first }}| {{ xs|length }} {{ d|length }} {{ missing|length }} {{ xs|list }} {{ 'ab'|list }} {{ d|list }} {{ xs|reverse|list }} {{ 'abc'|reverse }} {{ xs|count }}
{{ '12'|int }} {{ 'x'|int }} {{ 'x'|int(5) }} {{ ' 3.7 '|int }} {{ 3.9|int }} {{ -3.9|int }} {{ '2.5'|float }} {{ 'x'|float }} {{ 3|float }} {{ yes|int }} {{ none|int }} {{ -5|abs }} {{ f|string ~ 'x' }} {{ 5|string|length }}
{{ people|selectattr('age')|map(attribute='name')|list }} {{ people|selectattr('age', 'gt', 26)|list|length if false else people|selectattr('age', 'defined')|list|length }} {{ people|rejectattr('age', 'defined')|map(attribute='name')|list }} {{ xs|select('odd')|list }} {{ xs|reject('odd')|list }} {{ [0, 1, '']|select|list }} {{ ['a', 'b']|map('upper')|list }} {{ people|map(attribute='age', default=0)|list }}
{{ lines|indent }}|{{ lines|indent(2, true) }}|{{ lines|indent(first=true, blank=true, width=1) }}|{{ lines|indent('> ') }}
  {% if true %}⏎  text⏎  {% endif %}⏎end {# comment #}⏎{#- trimmed -#}   ⏎ x {%+ if true %} y {% endif +%}⏎z
a⏎    {%- if true -%}   ⏎  b  {%- endif -%}  ⏎ c {{- ' d ' -}} ⏎ e⏎   {# gone #}⏎f⏎    {{ 'kept' }}⏎g⏎
{% raw %}{{ not a variable }} {% if %}{% endraw %} {%- raw -%}  x  {%- endraw -%}  y
{{ 'a\tb\\n\'' }} {{ "\x41\u00e9\U0001F600" }} {{ 'un\known' }} {{ 'two' ' parts' }} {{ "line⏎break" }} {{ 'con\⏎tinued' }}
{{ {'a': {'b': [1, {'c': 'deep'}]}}.a.b[1].c }} {{ {'x': 1}['x'] }} {{ [[1, 2], [3]][0][1] }} {{ ({'a': 1}).a }} {{ {} }} {{ [] }} {{ {'}}': '%}'} }}
{{ missing == missing }} {{ missing == none }} {{ missing ~ '' }}|{% for x in missing %}x{% else %}empty{% endfor %} {% if missing %}t{% else %}f{% endif %} {{ missing|string }}| {{ missing|trim }}| {{ missing|upper }}|
{{ missing.attribute }}
{{ missing + 1 }}
{{ 'a' + 1 }}
{{ none.x }}| {{ n.x }}| {{ s.x }}| {{ xs.x }}|
{{ 1 / 0 }}
{{ n() }}
{{ missing() }}
{{ d|tojson(indent=0) }}
{{ missing|tojson }}
{{ 5|length }}
{{ 1 < 'a' }}
{{ 5 in 5 }}
{{ 1 in 'abc' }}
{% for a, b in [1] %}{% endfor %}
{% for a, b in [[1, 2, 3]] %}{% endfor %}
{{ raise_exception('no ' ~ s) }}
{% set s.x = 1 %}
{{ s.split('') }}
{{ xs|nofilter }}
{{ xs is notest }}
{{ unclosed
{% if true %}
{% endif %}
{{ (1 }}
{{ 1 ] }}
{{ }}
{% for x in xs %}{{ x }}
{{ 'open }}
{# open
{% break %}
{% unknown %}
{{ a b }}
{% else %}
{{ [1, 2,] }} {{ {'a': 1,} }} {{ (1, 2,) }} {{ dict(a=1,) }}
{{ m | trim | upper if false else 'x' | upper }} {{ 'a' if 'x' is string and n is number else 'b' }} {{ (n is number) == true }} {{ n is number and s is string or false }}
{{ {'a': 1}|length }}{{ [1,2]|length + 1 }}{{ 'x'|length > 0 }}{{ -n|abs }}{{ (-n)|abs }}
{{ 'é'|upper }}{{ 'ÀÉ'|lower }}{{ 'hello world-foo (bar'|title }}{{ 'hELLO wORLD'|capitalize }}{{ 'x'.isdigit() }}{{ '12'.isdigit() }}{{ ' '.isspace() }}
""".strip("\n").split("\n")


def without_null_contents(context):
    """The engine reads a message's content of null as "", which stock templates cannot iterate."""
    context = json.loads(json.dumps(context))
    for message in context["messages"] if isinstance(context.get("messages"), list) else []:
        if isinstance(message, dict) and message.get("content", "") is None:
            message["content"] = ""
    return context


def case(head, source, context):
    try:
        text = ENVIRONMENT.from_string(source).render(**without_null_contents(context))
        return {**head, "context": context, "expected": text}
    except (jinja2.exceptions.TemplateError, TypeError, ValueError, ZeroDivisionError, AttributeError,
            SyntaxError):
        return {**head, "context": context, "error": True}


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    maker = Maker(20260917)
    for i in range(count):
        name = TEMPLATES[i % 2]
        print(json.dumps(case({"template": name}, (ROOT / name).read_text(), maker.context()), ensure_ascii=False))
    for snippet in SNIPPETS:
        source = snippet.replace("⏎", "\n")
        print(json.dumps(case({"source": source}, source, SNIPPET_CONTEXT), ensure_ascii=False))


if __name__ == "__main__":
    main()
