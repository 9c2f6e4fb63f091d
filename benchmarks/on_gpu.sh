#!/bin/sh
# What docs/ calls unmeasured on a GPU, in one sitting, each command with a limit of its own:
#
#     sh benchmarks/on_gpu.sh OUT [PYTHON [TFDS_DIR]]
#
# OUT gets a JSON file and a log for each. A command that fails or takes too long stops no other.
# With TFDS_DIR, where a prepared MNIST lies, Stacked MNIST at PacGAN's length, too.
out=${1:?give a folder for the results}
python=${2:-python}
tfds_dir=${3:-}
mkdir -p "$out"

measure() { # NAME SECONDS COMMAND...
    name=$1 limit=$2
    shift 2
    echo "$name: $*"
    timeout "$limit" "$python" -m "$@" >"$out/$name.log" 2>&1 || echo "$name: exit code $?"
}

# What a user gets, beside JAX and PyTorch's whole steps: all compile side by side, then each is timed
# while the others wait (docs/speed.md). No more than 12 processes on 16 cores, and two minutes each.
measure turns_mlp 150 benchmarks.turns --contestants=ours --contestants=ours,choose=false \
    --contestants=ours,population=16 --contestants=ours,generator.num_particles=8 \
    --contestants=jax --contestants=pytorch_cuda_graphs --output="$out/turns_mlp.json"
measure turns_dcgan64 150 benchmarks.turns --model=dcgan64 --batch_sizes=64,256 --precisions=bfloat16,float32 \
    --contestants=ours --contestants=pytorch_cuda_graphs --output="$out/turns_dcgan64.json"
measure step_check 200 benchmarks.step --check --peers=jax,pytorch --precisions=float32
measure trace_dcgan64 100 benchmarks.trace --model=dcgan64 --precision=bfloat16 --steps=150
# Data that do not lie on the GPU: what the steps wait for (an LMDB, decoded on the way).
measure input 200 benchmarks.input --steps=300 --set=data.cache=False
# The same numbers whatever the flags (docs/decisions/0029): graphs as chains, as the default, and
# kernels that two processes time, each for itself.
for way in chains graphs timed timed_again; do
    (
        batches=20000
        case $way in
        chains) export XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_command_buffer_scheduling_mode=SERIALIZE" ;;
        timed*) batches=500000 && export TF_MIXED_NASH_XLA_CACHE=off ;;
        esac
        measure "same_$way" 400 trainers.run --config=configs/gaussians8_md.py:pure --config.export=false \
            --config.num_batches=$batches --config.log_every=1000 --workdir="$out/same_$way"
    )
done
for pair in chains:graphs timed:timed_again; do
    if cmp -s "$out/same_${pair%:*}/metrics.jsonl" "$out/same_${pair#*:}/metrics.jsonl"; then
        echo "$pair: equal"
    else
        echo "$pair: differ"
    fi
done
# Both ways of compiling, with and without deterministic operations (docs/gpu.md).
measure compile 300 benchmarks.compile --algorithms=mirror_gan --batch_sizes=64,256 --rounds=5 \
    --precisions=float32,bfloat16 --determinism --output="$out/compile.json"
# What a mini-batch is made of in XLA's programs for this GPU (docs/speed.md).
measure kernels 200 benchmarks.kernels --algorithms=rmsprop,mirror_gan --batch_sizes=64 \
    --output="$out/kernels.json"
# Seconds to the first step, with and without kept programs (decision 0024).
measure startup 300 benchmarks.startup --output="$out/startup.json"
# bfloat16 from training through the gates of publishing, whole; and resumed (docs/gpu.md).
measure bfloat16 200 trainers.run --config=configs/gaussians8_mp.py --config.num_batches=400 \
    --config.precision=mixed_bfloat16 --workdir="$out/bfloat16"
measure verify 100 export.verify --model="$out/bfloat16/export/generator"
# Four seeds and two step sizes as one program, from the command to published models.
measure many 300 trainers.many --config=configs/gaussians8_mp.py:pure --set=num_batches=2000 \
    --each=seed=0,1,2,3 --each=step_size=1e-4,3e-4 --workdir="$out/many"
# R3GAN's manner at 64 pixels, beside DCGAN (docs/modern.md).
r3=model.family=residual,game.objective=relativistic,game.r1=0.05,game.r2=0.05,game.gradient_penalty=0.0
measure turns_residual64 200 benchmarks.turns --model=dcgan64 --algorithms=adam --precisions=bfloat16,float32 \
    --contestants=ours --contestants="ours,$r3" --output="$out/turns_residual64.json"
# 50 epochs of 128,000 stacks, resumed by the same command where the limit cuts it off.
if [ -n "$tfds_dir" ]; then
    measure stacked_full 590 trainers.run --config=configs/stacked_mnist_md.py --config.data.tfds_dir="$tfds_dir" \
        --workdir="$out/stacked_full"
fi
