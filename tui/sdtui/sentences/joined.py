"""Sentences that are put together of several by the core, or are those of the libraries beneath it.

Those are the driver's and pydantic's.
"""

from sdtui.language import N_

PUT_TOGETHER = (
    N_("a preset is a TOML file, and this folder has no task.toml"),
    N_("write at least {value}"), N_("write more than {value}"), N_("write at most {value}"),
    N_("write less than {value}"),
    N_("it makes the mount points; {others}"), N_("it runs the image; {others}"),
    N_("placeholders such as $DATASET_DIR stand for the folders; {others}"),
    N_("{program}: it is not installed"),
    N_("runtime = {runtime} cannot be used here"),
    N_("the task runs on this machine's own Python; this is no name of an image"),
    N_("{what} (Slurm: {word})"), N_("this is the last known state: {why}"),
    N_("no GPU ({why})"), N_("NVML Shared Library Not Found"), N_("Driver Not Loaded"),
    N_("the NVIDIA driver sees no GPU"), N_("the Python package nvidia-ml-py is not installed"),
    N_("input should be greater than or equal to {n} (it is {value})"),
    N_("input should be greater than {n} (it is {value})"),
    N_("input should be less than or equal to {n} (it is {value})"),
    N_("input should be less than {n} (it is {value})"),
    N_("input should be a multiple of {n} (it is {value})"),
    N_("input should be a valid integer, unable to parse string as an integer (it is {value})"),
    N_("input should be a valid number, unable to parse string as a number (it is {value})"),
    N_("input should be {choices} (it is {value})"),
    N_("model_index.json says {name}, and the U-Net is one of SDXL"),
    N_("model_index.json says {name}, and the U-Net is not one of SDXL"), N_("{n} caption files"),
    N_("{number} without a caption"), N_("{number} without an image"),
    N_("{number} with an empty caption"), N_("{number} of other splits left out"),
    N_("correct the names, copy the images there, or remove the rows"),
    N_("correct the names (there is {name}), copy the images there, or remove the rows"),
    N_("it runs the image in a step of the job"),
    N_("runtime = {runtime} needs the name of an image, and image is left out"),
    N_("runtime = {runtime} needs the name of an image, not {image}"), N_("image: {why}"),
    N_("all decoded"), N_("{n} of them decoded as a sample"), N_("{n} captions ({all} different)"),
    N_("images with .txt files"), N_("U-Net of {size} parameters"), N_("U-Net of size unknown"),
    N_("not on this machine yet"), N_("{n} bucket"), N_("{n} buckets"),
)  # fmt: skip
