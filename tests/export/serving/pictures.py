"""Takes a picture of the page, for the docs.

python -m tests.export.serving.pictures MODEL OUTPUT.png [FIELD=VALUE ...]

MODEL is a model's folder, BASE/NAME; FIELD the id of a field of the page, such as count=400.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from export.serving.config import ModelConfig
from export.serving.server import Settings
from tests.export.serving import browser
from tests.export.serving.conftest import Running

_DRAWN = "() => / drawn/.test(document.getElementById('status').textContent)"


def take(model: Path, output: Path, fields: dict[str, str]) -> None:
    """Serves the model, opens the page, fills the fields, draws, and saves what is seen."""
    from PIL import Image

    settings = Settings([ModelConfig(model.name, model)], access_log="")
    size = {"width": 900, "height": 900}
    with Running(settings) as running, browser.launch(viewport=size) as context:
        page = context.new_page()
        page.goto(running.rest)
        page.wait_for_function(_DRAWN)
        for name, value in fields.items():
            field = page.locator(f"#{name}")
            if field.evaluate("x => x.tagName") == "SELECT":
                field.select_option(value)
            else:
                field.fill(value)
        page.click("#draw")
        page.wait_for_function(_DRAWN)
        height = int(page.evaluate("document.querySelector('main').getBoundingClientRect().bottom"))
        page.set_viewport_size({**size, "height": height + 20})
        with Image.open(io.BytesIO(page.screenshot())) as picture:
            # 96 colours are enough, and a third of the bytes.
            picture.convert("RGB").quantize(96).save(output, optimize=True)


if __name__ == "__main__":
    if browser.find() is None:
        sys.exit(browser.MISSING)
    _, folder, target, *rest = sys.argv
    take(Path(folder), Path(target), dict(item.split("=", 1) for item in rest))
