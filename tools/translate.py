"""Brings the translations up to date: ``make locale``.

Collects every text that the console passes through gettext, the labels and descriptions of the
training settings, from which the form is drawn, and what the shipped presets are for; keeps what is
translated in ``sdtui.po``, adds what is new with an empty translation, drops what is gone, and
compiles ``sdtui.mo``. Places in the source are left out of the file, so that it changes only when a
text does.
"""

import io
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from sdcore.task.hooks import HooksSpec
from sdcore.task.metrics import MetricsSpec
from sdcore.task.presets import shipped
from sdcore.task.spec import ClusterSpec, GpuSpec, TaskSpec
from sdcore.task.train_spec import TrainSpec

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "tui" / "sdtui"
LOCALE = SOURCES / "locale"
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)  # no date, so that equal texts make equal files
KEYWORDS: dict[str, Any] = {"_": None, "N_": None, "ngettext": (1, 2)}


def texts() -> Catalog:
    """Return every text that is shown, untranslated."""
    catalog = Catalog(project="sdtui", fuzzy=False)
    found = extract_from_dir(SOURCES, [("**.py", "python")], keywords=KEYWORDS, comment_tags=())
    for _file, _line, message, _comments, _context in found:
        catalog.add(message)
    for message in _of_the_form():
        catalog.add(message)
    return catalog


def _of_the_form() -> list[str]:
    """Return what the form shows of the specification and the presets: groups, help, units."""
    shown: list[str] = []
    for model in (TaskSpec, GpuSpec, ClusterSpec, MetricsSpec, HooksSpec, TrainSpec):
        for field in model.model_fields.values():
            extra = field.json_schema_extra
            notes = extra if isinstance(extra, dict) else {}
            shown += [field.description or "", str(notes.get("group", "")),
                      str(notes.get("unit", ""))]  # fmt: skip
    shown += [preset.description for preset in shipped()]
    return [text for text in dict.fromkeys(shown) if text]


def po_file(language: str) -> Path:
    """Return where the translations into ``language`` are."""
    return LOCALE / language / "LC_MESSAGES" / "sdtui.po"


def read(language: str) -> Catalog:
    """Return the translations into ``language``."""
    path = po_file(language)
    if not path.exists():
        return Catalog(locale=language, project="sdtui", fuzzy=False)
    with path.open("rb") as file:
        return read_po(file, locale=language)


def compiled(catalog: Catalog) -> bytes:
    """Return the form that gettext reads."""
    out = io.BytesIO()
    write_mo(out, catalog)
    return out.getvalue()


def update(language: str) -> Catalog:
    """Bring one language's files up to date and return its catalogue."""
    catalog = read(language)
    catalog.update(texts(), no_fuzzy_matching=True)
    catalog.obsolete.clear()
    catalog.header_comment = "# The console of sdtui. Brought up to date by `make locale`."
    catalog.creation_date = catalog.revision_date = _EPOCH
    catalog.last_translator = catalog.language_team = catalog.msgid_bugs_address = "sdtui"
    path = po_file(language)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_po(file, catalog, no_location=True, omit_header=False, sort_output=True, width=100)
    path.with_suffix(".mo").write_bytes(compiled(catalog))
    return catalog


def main() -> int:
    """Update every language; return 1 while a translation is missing."""
    missing = 0
    for folder in sorted(path for path in LOCALE.iterdir() if path.is_dir()):
        if folder.name.startswith("_"):
            continue
        catalog = update(folder.name)
        gone = [m.id for m in catalog if m.id and not _translated(m.string)]
        missing += len(gone)
        print(f"{folder.name}: {len(catalog)} texts, {len(gone)} without translation")
        for text in gone:
            print(f"  {text!r}")
    return 1 if missing else 0


def _translated(string: Any) -> bool:
    return all(string) if isinstance(string, list | tuple) else bool(string)


if __name__ == "__main__":
    sys.exit(main())
