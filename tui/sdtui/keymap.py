"""The keys of the console: which there are, which a person may give, and what they are called.

The keys are bound where they count; here they stand once more, so that what a person wrote in
``[console.keys]`` can be judged before the screens are imported. A test holds the two together.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from sdcore.text import clean_line
from sdtui.language import N_
from sdtui.settings import Problem, Settings, settings_file

# By what they belong to: what is done = its keys; ! counts before what has the focus.
_BOUND = {
    "app": (
        "help=question_mark,f1 palette=ctrl+p,colon settings=comma redraw=ctrl+l! "
        "mouse=f12,M quit=q leave=ctrl+q,ctrl+c!"
    ),
    "go": "tasks=1 new=2 run=3 log=4 gpu=5 images=6 compare=7",
    "screen": "back=escape next_pane=f6 jump=ctrl+o",
    "tasks": (
        "new=n filter=slash stop=s resume=r resume_from=R edit=e delete=d sort=o reverse=O "
        "columns=v"
    ),
    "table": (
        "open=enter mark=space up=up,k down=down,j page_up=pageup page_down=pagedown "
        "first=home last=end,G"
    ),
    "welcome": "demo=d preset=enter,p",
    "run": (
        "resume=r resume_from=R stop=s side=v checkpoint=c samples=i maximise=m overlay=o edit=e "
        "export=x"
    ),
    "chart": (
        "metric=t metric_before=T loss=l lr=L grad_norm=N images_per_s=I val_loss=V "
        "gpu_allocated=U log=y x=h smoother=right_square_bracket "
        "rougher=left_square_bracket both=b fit=f raw=w zoom_in=plus,equals_sign "
        "zoom_out=minus whole=a earlier=less_than_sign later=greater_than_sign left=left "
        "right=right far_left=shift+left far_right=shift+right first=home last=end "
        "no_cursor=escape"
    ),
    "gpu": "window=w window_back=W part=p next=down,j previous=up,k",
    "history": "up=up,k down=down,j page_up=pageup page_down=pagedown first=home last=end",
    "samples": (
        "earlier=left,h later=right,l previous=up,k next=down,j weights=t newest=end images=enter"
    ),
    "log": (
        "follow=f next=n previous=N wrap=w level=l rank=number_sign mark=v copy=y up=up,k "
        "down=down,j page_up=pageup,ctrl+u page_down=pagedown,ctrl+d,space home=home,g "
        "end=end,G left=left right=right clear=escape search=slash source=t pager=E"
    ),
    "log_search": "leave=escape",
    "images": (
        "earlier=left,h later=right,l previous=up,k next=down,j first=home newest=end "
        "zoom=enter weights=t mark=space copy=y sharp=K"
    ),
    "compare": (
        "view=v up=up,k down=down,j page_up=pageup page_down=pagedown first=home last=end "
        "left=left right=right"
    ),
    "new": (
        "create=ctrl+r! problem=ctrl+n! check=ctrl+t! load=ctrl+o! save=ctrl+s! "
        "next_part=f6,ctrl+pagedown! previous_part=shift+f6,ctrl+pageup! right=right "
        "left=left enter=down,enter copy=ctrl+y,f8! path=slash search=slash empty=f7!"
    ),
    "field": "up=up down=down,enter",
    "choice": "next=right,space previous=left default=backspace,delete",
    "act": "press=enter,space",
    "env": "remove=f9",
    "mounts": "browse=f2 remove=f9",
    "review": "up=up down=down page_up=pageup page_down=pagedown",
    "training": "clear=escape",
    "confirm": "yes=y no=n,escape,q,enter",
    "error": "close=escape,enter,q,space copy=y",
    "help": "close=escape,question_mark,q,enter",
    "findings": "start=y close=n,escape,q,enter",
    "settings": "close=escape,comma,q",
    "save": "close=escape",
    "load": "close=escape up=up! down=down!",
    "browse": (
        "close=escape choose=f2 hidden=ctrl+g above=ctrl+left,shift+tab up=up down=down "
        "page_up=pageup page_down=pagedown"
    ),
    "folder": "cancel=escape",
    "resume": "take=enter! cancel=escape",
    "choose": "take=enter! cancel=escape,q",
    "palette": "page_up=pageup page_down=pagedown",
}
_EVERYWHERE = ("app", "go", "screen")
# What one screen has at a time: a key means one thing in each.
_TOGETHER: tuple[tuple[str, ...], ...] = (
    *((*_EVERYWHERE, "tasks", part) for part in ("table", "welcome")),
    *((*_EVERYWHERE, "run", part) for part in ("chart", "gpu", "history", "samples", "log")),
    *((*_EVERYWHERE, *screen) for screen in (("log", "log_search"), ("gpu",), ("images",))),
    (*_EVERYWHERE, "compare", "chart"),
    *(
        (*_EVERYWHERE, "new", *part)
        for part in (("field", "choice"), ("field", "act"), ("field", "env"), ("field", "mounts"),
                     ("field", "training"), ("review",))
    ),
    *((box,) for box in ("confirm", "error", "help", "findings", "settings", "save", "load",
                         "browse", "folder", "resume", "choose", "palette")),
)  # fmt: skip
_FOCUS = {"tab", "shift+tab"}  # Textual's own
_KEY = re.compile(r"\[([a-z_]+\.[a-z_]+)\]")
_SHOWN = {"escape": "esc", "enter": "enter"}


def _defaults() -> dict[str, tuple[str, ...]]:
    pairs = (
        (f"{group}.{verb}", keys.rstrip("!"))
        for group, text in _BOUND.items()
        for verb, _, keys in (entry.partition("=") for entry in text.split())
    )
    return {id_: tuple(keys.split(",")) for id_, keys in pairs}


DEFAULTS = _defaults()
BEFORE_ALL = frozenset(
    f"{group}.{entry.partition('=')[0]}"
    for group, text in _BOUND.items()
    for entry in text.split()
    if entry.endswith("!")
)
_given: dict[str, tuple[str, ...]] = {}


def settled(settings: Settings) -> Settings:
    """Return the settings with the keys that can be used, and use those from now on."""
    keys, wrong = judged(settings.keys) if settings.keys else ({}, ())
    _given.clear()
    _given.update({id_: tuple(_split(value)) for id_, value in keys.items()})
    return replace(settings, keys=keys, problems=(*settings.problems, *wrong))


def for_textual(settings: Settings) -> dict[str, str]:
    """Return the keymap that Textual is given.

    It takes a key away from whatever else has it when one gets another: ``new.path`` with a key
    of its own would leave none to ``new.search``. So those are given what they have.
    """
    keys = dict(settings.keys)
    for id_ in settings.keys:
        group = id_.partition(".")[0]
        for other, own in DEFAULTS.items():
            if other.partition(".")[0] == group and set(own) & set(DEFAULTS[id_]):
                keys.setdefault(other, ",".join(own))
    return keys


def key(id_: str, *, spelled: bool = False) -> str:
    """Return the name of the key that does what ``id_`` names: ``s``, ``^r``, ``F2``, ``esc``.

    Args:
        id_: Of a binding.
        spelled: Write ``ctrl+r``, for those who are new here.
    """
    return named((_given.get(id_) or DEFAULTS[id_])[0], spelled=spelled)


def named(name: str, *, spelled: bool = False) -> str:
    """Return what is written for a key of that name; see ``key``."""
    from textual.keys import format_key  # noqa: PLC0415  # not before the first picture

    *modifiers, base = name.split("+")
    if base in _SHOWN:
        shown = _SHOWN[base]
    else:
        shown = base.upper() if re.fullmatch(r"f\d+", base) else format_key(base)
    if "ctrl" in modifiers and not spelled:
        modifiers.remove("ctrl")
        shown = f"^{shown}"
    return "+".join([*modifiers, shown])


def keyed(text: str, *, on: str = "run", spelled: bool = False) -> str:
    """Put the names of keys into a text: ``[run.stop] again goes further``.

    Args:
        text: In the language of the console.
        on: The screen: what is done on ``run`` may have another key in the list of tasks.
        spelled: See ``key``.
    """

    def name(found: re.Match[str]) -> str:
        there = re.sub("^run[.]", f"{on}.", found[1])
        id_ = there if there in DEFAULTS else found[1]
        return key(id_, spelled=spelled) if id_ in DEFAULTS else found[0]

    return _KEY.sub(name, text)


def judged(keys: Mapping[str, Any]) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """Return the keys that can be used, and what is wrong with the others."""
    taken: dict[str, str] = {}
    problems = []
    for id_, value in _flat(keys):
        problem = _unfit(id_, value)
        if problem is None:
            taken[id_] = value
        else:
            problems.append(_problem(id_, *problem))
    while (clash := _clash(taken)) is not None:
        id_, other, name = clash
        del taken[id_]
        problems.append(_problem(id_, N_("{} is the key of {} there"), name, other))
    return taken, tuple(problems)


def _flat(keys: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield ids with their keys; written without quotes, ``run.stop`` is a table in TOML."""
    for group, value in keys.items():
        if isinstance(value, dict):
            yield from ((f"{group}.{verb}", inner) for verb, inner in value.items())
        else:
            yield group, value


def _problem(id_: str, why: str, *values: str) -> Problem:
    return Problem(f"{settings_file()}: console.keys.{clean_line(id_, 60)}", why, values)


def _unfit(id_: str, value: Any) -> tuple[str, ...] | None:
    """Say what is wrong with one entry alone."""
    if id_ not in DEFAULTS:
        import difflib  # noqa: PLC0415  # rare

        near = difflib.get_close_matches(id_, DEFAULTS, n=1)
        if near:
            return N_("there is no such action; did you mean {}?"), near[0]
        return (N_("there is no such action; [app.help] shows their names"),)
    if not isinstance(value, str) or not value.strip():
        return N_("cannot be {}"), clean_line(repr(value), 40)
    for name in _split(value):
        if not _is_key(name):
            return N_("{} is not the name of a key"), clean_line(name or ",", 40)
        if name in _FOCUS and name not in DEFAULTS[id_]:
            return N_("{} goes from field to field"), name
        if id_ in BEFORE_ALL and types(name):
            return N_("{} could not be typed any more"), name
    return None


def _split(value: str) -> list[str]:
    """Return the names of keys in the form that Textual gives them."""
    from textual.keys import _normalize_key_list  # noqa: PLC0415  # as ``set_keymap`` does

    return _normalize_key_list(value).split(",")


def _is_key(name: str) -> bool:
    """Say whether a terminal can send a key of that name."""
    from textual.keys import Keys, _character_to_key  # noqa: PLC0415

    if any(name == known.value for known in Keys):
        return not name.startswith("<")
    sign = _sign(name.removeprefix("alt+"))
    return (
        sign is not None
        and sign.isprintable()
        and name in {_character_to_key(sign), f"alt+{_character_to_key(sign)}"}
    )


def types(name: str) -> bool:
    """Say whether a key types something into a field."""
    return name == "space" or _sign(name) is not None


def _sign(name: str) -> str | None:
    """Return what a key types; None where it types nothing."""
    from textual.keys import REPLACED_KEYS, key_to_character  # noqa: PLC0415

    return key_to_character(REPLACED_KEYS.get(name, name))


def _clash(taken: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Return an entry whose key does another thing on the same screen, that thing, and the key."""
    keys = DEFAULTS | {id_: tuple(_split(value)) for id_, value in taken.items()}
    for id_ in reversed([*taken]):  # of two entries the later one gives way
        for other in _beside(id_):
            both = set(DEFAULTS[id_]) & set(DEFAULTS[other])  # shared by design, one at a time
            common = [name for name in keys[id_] if name in keys[other] and name not in both]
            if common:
                return id_, other, common[0]
    return None


def _beside(id_: str) -> Iterator[str]:
    """Yield what else can be done on the screens on which ``id_`` counts."""
    group = id_.partition(".")[0]
    groups = {name for screen in _TOGETHER if group in screen for name in screen}
    yield from (other for other in DEFAULTS if other != id_ and other.partition(".")[0] in groups)
