"""Captioned images in every form we read: names, captions and encoded bytes; never torch.

``open_data`` finds out the form, checks every row and returns a ``DataIndex``. It holds names
and captions, no picture: 100,000 rows take about a second and 50 MB. What would only come up
in the middle of a training elsewhere, a row whose image is missing, a caption column that does
not exist, stops here with the file and the line.
"""

from sdcore.data.decode import BadImageError, decode_image, image_size
from sdcore.data.index import DataIndex, DataProblems, Few, Form, Row
from sdcore.data.opening import open_data

__all__ = [
    "BadImageError",
    "DataIndex",
    "DataProblems",
    "Few",
    "Form",
    "Row",
    "decode_image",
    "image_size",
    "open_data",
]
