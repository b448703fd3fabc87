"""The core's sentences, as templates: what ``told`` knows again.

A field called ``n`` stands for a number, ``token`` for what has no blank in it, every other for
any text; what it stands for may be a sentence of the core in its turn.
"""

from sdtui.sentences.joined import PUT_TOGETHER
from sdtui.sentences.running import CORE
from sdtui.sentences.starting import STARTING, STARTING_TOGETHER
from sdtui.sentences.training import TRAINING, TRAINING_TOGETHER

SOURCES = (*CORE, *STARTING, *TRAINING)  # each stands in the core's sources, piece by piece
ALL = (*SOURCES, *PUT_TOGETHER, *STARTING_TOGETHER, *TRAINING_TOGETHER)
