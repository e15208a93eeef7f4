"""A stand-in for Slurm's commands, for what submitit's local executor does not cover: sbatch, srun, sacct, scancel."""

from pathlib import Path

_SCRIPTS = {
    "sbatch": """
id=$(( $(cat $S/last 2>/dev/null || echo 100) + 1 )); echo $id > $S/last
export SLURM_JOB_ID=$id SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0
cp "${@: -1}" $S/$id.sh
setsid bash -c "echo \\$\\$ > $S/$id.pid; bash $S/$id.sh; echo \\$? > $S/$id.rc" < /dev/null > $S/$id.out 2>&1 &
echo Submitted batch job $id
""",
    "srun": """
while [ "${1#-}" != "$1" ]; do [ "$1" = --output ] && shift; shift; done
exec "$@"
""",
    "sacct": """
echo "JobID|State|NodeList"
for file in $S/*.pid; do
  id=$(basename $file .pid)
  if [ -f $S/$id.state ]; then state=$(cat $S/$id.state)
  elif [ ! -f $S/$id.rc ]; then state=RUNNING
  elif [ $(cat $S/$id.rc) = 0 ]; then state=COMPLETED; else state=FAILED; fi
  echo "$id|$state|node1"
done
""",
    "scancel": """
trap "" TERM
kill -TERM -- -$(cat $S/$1.pid)
echo CANCELLED by 0 > $S/$1.state
""",
}


def install(folder: Path) -> None:
    """Put the commands into a folder, and their memory beside them."""
    folder.mkdir()
    for name, text in _SCRIPTS.items():
        (folder / name).write_text(f"#!/bin/bash\nS={folder}\n{text}")
        (folder / name).chmod(0o755)
