"""Metrics of a trainer that is not ours, read from what it prints or writes for TensorBoard.

``said`` knows what other programs call things, ``bars`` and ``lines`` read one piece of text,
``pieces`` finds the pieces in a log of any speed, ``curve`` decides which of them is the training
and which step it is (``passes`` where a bar begins anew, ``epochs`` where lines do), ``board``
reads event files, ``reader`` is the process that does it.
"""
