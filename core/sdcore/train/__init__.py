"""The training process: ``python -m sdcore.train``, normally under ``accelerate launch``.

The only place that imports torch, diffusers and transformers. It reads its flags and the
requests of consoles; it writes streams, checkpoints, samples and the pipeline; it knows nothing
of supervisors and screens. See docs/trainer.md.
"""
