"""What MkDocs needs to know about this repository: pages that lie outside of docs/, links among them, and its docstrings.

README, CONTRIBUTING and CHANGELOG are pages as they are, and their links go where the site has the page, else to the
repository. Each public Python module gets a page of its docstrings; rustdoc's pages lie under rust/.
"""

import os
import posixpath
import re
from pathlib import Path

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]

#: Pages by their place in the repository.
PAGES = {
    "README.md": "index.md",
    "README.ja.md": "ja.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}

#: What is told on a module's page besides its own.
PARTS = {
    "kasoku": ["overlay.install", "overlay.uninstall", "overlay.status", "overlay.Status"],
    "kasoku.dataset": ["mnist.load_mnist"],
}

#: Where the functions of a compiled module are documented.
COMPILED = {"kasoku._core.kernels": ROOT / "python" / "src" / "kernels.rs"}

RUSTDOC = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "doc"


def on_files(files, config):
    """Adds the pages that lie elsewhere, the modules' and rustdoc's."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for module in sorted(_modules(config["nav"])):
        name = "kasoku" if module == "kasoku" else f"kasoku.{module}"
        page = f"# {name}\n\n::: {name}\n"
        for part in PARTS.get(name, ()):
            page += f"\n::: {name}.{part}\n    options:\n      show_root_heading: true\n"
        files.append(File.generated(config, f"api/{module}.md", content=page))
    for path in RUSTDOC.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            place = posixpath.join("rust", path.relative_to(RUSTDOC).as_posix())
            files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def _modules(nav):
    """The modules whose pages the navigation names."""
    if isinstance(nav, str):
        found = re.fullmatch(r"api/(\w+)\.md", nav)
        return {found[1]} if found else set()
    entries = nav.values() if isinstance(nav, dict) else nav
    return set().union(*map(_modules, entries))


def on_page_markdown(markdown, page, config, files):
    """Makes links of the repository links of the site, and hides the lines of Rust that only the tests of README need."""
    sources = {page: source for source, page in PAGES.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def link(found):
        target, _, anchor = found[2].partition("#")
        if not target or "://" in target:
            return found[0]
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if not (ROOT / place).exists():
            return found[0]  # for MkDocs to complain about
        uri = PAGES.get(place, place.removeprefix("docs/"))
        if files.get_file_from_path(uri):
            here = posixpath.dirname(page.file.src_uri)
            return f"{found[1]}({posixpath.relpath(uri, here)}{'#' * bool(anchor)}{anchor})"
        return f"{found[1]}({config['repo_url']}/blob/main/{place})"

    markdown = re.sub(r"(\[[^\]]*\])\(([^)\s]+)\)", link, markdown)
    markdown = re.sub(r"(?m)^# Ok::<.*\n", "", markdown)
    # A line's end is a space, which Japanese does not have between words.
    return re.sub(r"(?<=[、-鿿！-｠])\n(?=[、-鿿！-｠])", "", markdown)


class Docstrings(griffe.Extension):
    """This project's docstrings as Markdown."""

    def on_object(self, *, obj, **_):
        if obj.docstring is None:
            text = ""
            if obj.is_attribute:
                text = _comment(obj)
            elif obj.is_function and obj.module.path in COMPILED:
                text = _in_rust(obj.name, COMPILED[obj.module.path].read_text())
            obj.docstring = griffe.Docstring(text, parent=obj) if text else None
        if obj.docstring is not None:
            obj.docstring.value = _markdown(obj.docstring.value)


def _comment(attribute):
    """What a ``#:`` beside an attribute, or above it, says."""
    if not isinstance(attribute.filepath, Path) or attribute.lineno is None:
        return ""
    lines = attribute.filepath.read_text().splitlines()
    beside = lines[attribute.lineno - 1].partition("#: ")[2]
    above = []
    for line in reversed(lines[: attribute.lineno - 1]):
        if not line.strip().startswith("#: "):
            break
        above.insert(0, line.strip()[3:])
    return beside or " ".join(above)


def _in_rust(name, source):
    """The comment of a function of Rust."""
    comment = r"((?:^ *///.*\n)+)(?:^ *#\[[\s\S]*?\]\n)*^ *(?:pub(?:\(\w+\))? )?fn "
    found = re.search(rf"(?m){comment}{name}\b", source)
    return re.sub(r"(?m)^ */// ?", "", found[1]).strip() if found else ""


def _markdown(text):
    """Roles as code, sessions as code without prompts, and ``name: what it is`` as the entries of a list."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    text = text.replace("``", "`")
    lines, listed, session = [], False, False
    for line in text.splitlines():
        prompt = line.startswith((">>> ", "... "))
        if prompt != session:
            lines.append("```python" if prompt else "```")
        session = prompt
        if prompt:
            line = line[4:].partition("  # doctest:")[0]
        elif entry := re.match(r"([a-z_]+\w*(?:, \w+)*): (.*)", line):
            if not listed and lines and lines[-1].strip():
                lines.append("")
            names = ", ".join(f"`{name}`" for name in entry[1].split(", "))
            line, listed = f"- {names}: {entry[2]}", True
        elif listed and line and not line.startswith(" "):
            if lines[-1].strip():
                lines.append("")
            listed = False
        lines.append(line)
    return "\n".join([*lines, "```"] if session else lines)
