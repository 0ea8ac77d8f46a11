"""A model that draws nothing but a colour: enough for Cog's server to serve."""

import tempfile
from pathlib import Path as Folder

from cog import BaseRunner, Input, Path
from PIL import Image


class Colour(BaseRunner):
    """Answers a prompt with a picture of one colour."""

    def run(self, prompt: str = Input(description="what to draw"), seed: int = Input(default=0)) -> Path:
        """A picture whose colour depends on the prompt and the seed."""
        if prompt == "refuse":
            raise ValueError("this prompt is refused")
        number = sum(prompt.encode()) + seed
        file = Folder(tempfile.mkdtemp()) / "colour.png"
        Image.new("RGB", (64, 64), (number % 256, number * 7 % 256, number * 31 % 256)).save(file)
        return Path(file)
