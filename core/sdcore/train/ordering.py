"""In which order the images of a run come, and that a resume goes on in the same one.

With buckets, positions come in blocks that show one size each. A block is as long as the longest
forward pass the run may make, so any split of a step over processes and passes fits into blocks.
"""

from collections import Counter
from collections.abc import Sequence

from sdcore.data.buckets import Buckets, Size
from sdcore.errors import NotReadyError
from sdcore.task.train_spec import TrainSpec
from sdcore.train.latents import LatentSource
from sdcore.train.probing import sizes as sizes_to_try
from sdcore.train.randomness import BlockOrder, Order
from sdcore.train.report import Report
from sdcore.train.session import Job
from sdcore.units import count

_SHOWN = 12  # sizes, in the line for people


def make_order(job: Job, latents: LatentSource, rows: Sequence[int]) -> Order | BlockOrder:
    """Return the order of ``rows``, and tell how many there are of each size.

    Raises:
        NotReadyError: The checkpoint's order cannot be gone on with.
    """
    if not job.spec.enable_bucket:
        return Order(job.seed, len(rows))
    sizes = [latents.size(row) for row in rows]
    found = Counter(sizes)
    largest_first = sorted(found, key=lambda size: (-size[0] * size[1], size))
    number = {size: kind for kind, size in enumerate(largest_first)}
    order = BlockOrder(job.seed, [number[size] for size in sizes], _block(job))
    _check_same(job, order)
    _tell(job.spec, found, order.block, job.report)
    return order


def _block(job: Job) -> int:
    """Return the images of a block: the checkpoint's, or as long as the longest pass."""
    spec, old = job.spec, job.resumption.progress if job.resumption else None
    batch = spec.train_batch_size
    if old is None or old.block is None:
        passes = spec.gradient_accumulation_steps
        return sizes_to_try(batch, passes)[-1] if spec.auto_batch_size else batch
    if old.block % batch or (old.samples or 0) % batch:
        raise NotReadyError(
            f"train_batch_size {batch}",
            cause=f"the checkpoint's order has blocks of {old.block} images of one size and is at "
            f"image {old.samples:,}: passes of {batch} would reach over the end of a block",
            remedy="resume with the train_batch_size of before, or a smaller one that divides it",
        )
    return old.block


def _check_same(job: Job, order: BlockOrder) -> None:
    old = job.resumption.progress if job.resumption else None
    if old is not None and old.sizes not in {None, order.mark}:
        raise NotReadyError(
            "the sizes of the images",
            cause="they are not those of the checkpoint: with other buckets, images would come in "
            "another order, some twice and some not at all",
            remedy="resume with the resolution and the settings of buckets of before, or start a "
            "new run from the saved weights",
        )


def _tell(spec: TrainSpec, found: Counter[Size], block: int, report: Report) -> None:
    """Tell how many images each size has, and what is odd about them."""
    buckets = Buckets.of(spec)
    assert buckets is not None
    smaller = sum(images for size, images in found.items() if size not in buckets.sizes)
    report.event(
        "buckets", smaller=smaller,
        sizes=[{"width": w, "height": h, "images": n} for (w, h), n in found.most_common()],
    )  # fmt: skip
    shown = ", ".join(f"{w}x{h}: {n:,}" for (w, h), n in found.most_common(_SHOWN))
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    report.say(f"images in {count(len(found), 'bucket')}: {shown}{more}")
    if smaller:
        report.say(f"{count(smaller, 'image')} too small for a regular bucket: in smaller ones")
    few = [images for images in found.values() if images < block]
    if few:
        report.say(
            f"{count(len(few), 'bucket')} with fewer images than the {block} of a pass "
            f"({sum(few):,} in all): a pass shows them several times, and comes less often"
        )
