"""A contact sheet: one pair under many methods, or many pairs, each a single picture above two bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from gazeeval.report.pictures import (
    BAR,
    GAP,
    GREY,
    INK,
    MARGIN,
    SOURCE,
    TARGET,
    TEXT,
    TITLE,
    WHITE,
    Colour,
    Floats,
    PairPicture,
    Pixels,
    overview,
    percent,
    share_bar,
    tiles,
    write,
)

COLUMNS = 7
