#!/usr/bin/env bash
# Trains Stable Diffusion with the built-in trainer of sdtui. Written by `sdtui new-project`; it is
# yours: change what you like. Words after `bash train.sh` go to the trainer as they are.
set -euo pipefail

# The six variables of the platform's form, each with its default.
resolution="${resolution:-512}"
batch_size="${batch_size:-1}"
gradient_accumulation_steps="${gradient_accumulation_steps:-4}"
max_train_steps="${max_train_steps:-15000}"
lr="${lr:-1e-05}"
max_grad_norm="${max_grad_norm:-1}"

# sdtui names the folders; without it they are where the platform mounts them.
dataset="${DATASET_DIR:-/mnt/dataset}"
model="${MODEL_DIR:-/mnt/model}"
output="${OUTPUT_DIR:-/output}"

# Half precision needs a GPU; sdtui sets this variable for a task without one.
mixed_precision="fp16"
if [ "${ACCELERATE_USE_CPU:-false}" = true ]; then
  mixed_precision="no"
fi

# sdtui names the Python that has the trainer, and the GPUs of the task: one process for each.
launch=(accelerate launch)
if [ -n "${SDTUI_PYTHON:-}" ]; then
  launch=("$SDTUI_PYTHON" -m accelerate.commands.launch)
fi
IFS=, read -r -a gpus <<<"${CUDA_VISIBLE_DEVICES:-}"
processes="${NPROC_PER_NODE:-${#gpus[@]}}"
if [ "$processes" -lt 1 ]; then
  processes=1
fi

# Where a task has several machines this script runs on each, and these variables differ.
nodes="${NNODES:-1}"
total=$((nodes * processes))
launch+=(--num_machines="$nodes" --num_processes="$total")
if [ "$total" -gt 1 ]; then
  launch+=(--multi_gpu)
fi
if [ "$nodes" -gt 1 ]; then
  launch+=(--machine_rank="$NODE_RANK" --rdzv_backend=static --same_network)
  launch+=(--main_process_ip="$MASTER_ADDR" --main_process_port="$MASTER_PORT")
elif [ "$total" -gt 1 ]; then
  launch+=(--main_process_port=0)
fi

# A resume goes on from the newest whole checkpoint. In a run of sdtui the trainer knows its folder.
place=(--output_dir="$output")
if [ -n "${SDTUI_RUN_DIR:-}" ]; then
  place=()
fi
if [ "${SDTUI_ATTEMPT:-1}" -gt 1 ]; then
  place+=(--resume_from_checkpoint=latest)
fi

# --gpu_ids: else the answers of an earlier `accelerate config` may take other GPUs.
exec "${launch[@]}" --mixed_precision="$mixed_precision" \
  --gpu_ids=all --dynamo_backend=no \
  -m sdcore.train \
  --pretrained_model_name_or_path="$model" \
  --train_data_dir="$dataset" \
  --use_ema \
  --resolution="$resolution" --center_crop --random_flip \
  --train_batch_size="$batch_size" \
  --gradient_accumulation_steps="$gradient_accumulation_steps" \
  --gradient_checkpointing \
  --max_train_steps="$max_train_steps" \
  --learning_rate="$lr" \
  --max_grad_norm="$max_grad_norm" \
  --lr_scheduler="constant" --lr_warmup_steps=0 \
  --checkpoints_total_limit=3 \
  "${place[@]}" "$@"
