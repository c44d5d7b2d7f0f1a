#!/bin/bash
# Training on four nodes with eight GPUs each under SLURM:
#
#     sbatch examples/slurm.sh
#
# Three minutes before the time limit, and when it is preempted, the run writes a checkpoint and ends
# with exit code 75; the job then queues again and goes on from there. The number of nodes may change.
# It queues again after the loss of a node too, and goes on from the last checkpoint.
#
#SBATCH --job-name=longclip
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=longclip-%j.log

out=runs/l14
command=(
    python -m longclip train --recipe paper --model ViT-L-14.pt
    --data sharegpt4v.json --images /data/images --out "$out"
    --batch-size 4096 --micro-batch 64 --workers 6
)
# A run can only be resumed once there is one.
if [ -e "$out/config.json" ]; then
    command+=(--resume)
fi

# One task per GPU, told what torchrun would tell it. torchrun itself would answer every end of a
# task with exit code 1, and give it only 30 seconds for its checkpoint.
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR MASTER_PORT=29500
export LOCAL_WORLD_SIZE=$((SLURM_NTASKS / SLURM_NNODES))

# Whoever is left a minute after the first has ended waits for something that never comes.
srun --kill-on-bad-exit=0 --wait=60 bash -c '
    export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
    exec "$@"
' task "${command[@]}"
code=$?

if [ "$code" -eq 75 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
