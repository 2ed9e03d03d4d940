"""Task files in the style of SkyPilot's examples, one of each kind, and what its documentation says comes of them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SMALL = "{infra: aws/us-east-1, cpus: 2+, memory: 4+}"


@dataclass(frozen=True)
class Case:
    """A file and its run.

    Attributes:
        file: ``IMAGE`` stands for a private image, whose os-release says ``boxed``.
        log: Lines that each task's log has, in this order, others between them; of a task that never began, None.
        beside: Files that lie beside it.
        options: Of ``skyloom run``, beside the file.
        environ: Variables of whoever calls it.
        code: What the command ends with.
    """

    file: str
    log: Mapping[str, Sequence[str] | None]
    beside: Mapping[str, str] = field(default_factory=dict)
    options: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    code: int = 0


# What torchrun does of what is used here: torch is no part of the suite. The launcher's arguments are torchrun's.
STANDIN_TORCHRUN = """\
import os, subprocess, sys
*options, script = sys.argv[1:]
given = dict(option.lstrip("-").split("=") for option in options)
about = {"RANK": given["node_rank"], "WORLD_SIZE": given["nnodes"], "LOCAL_RANK": "0"}
about |= {"MASTER_ADDR": given["master_addr"], "MASTER_PORT": given["master_port"]}
sys.exit(subprocess.call([sys.executable, script], env={**os.environ, **about}))
"""
ALL_REDUCE = """\
import os, socket, time
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
where, mine = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), rank + 1
if rank == 0:
    with socket.create_server(where) as server:
        others = [server.accept()[0] for _ in range(size - 1)]
    total = mine + sum(int(other.recv(10)) for other in others)
    for other in others:
        other.sendall(b"%d" % total)
else:
    while True:
        try:
            link = socket.create_connection(where)
            break
        except OSError:
            time.sleep(0.1)
    link.sendall(b"%d" % mine)
    total = int(link.recv(10))
print("rank", rank, "of", size, "sum", total)
"""
GANG = Case(
    f"""
    name: gang
    num_nodes: 2
    workdir: train
    resources: {SMALL.replace("}", ", labels: {team: research}}")}
    file_mounts: {{~/log: {{name: logs-of-gang, mode: MOUNT_CACHED}}}}
    setup: |
      echo "set up $SKYPILOT_SETUP_NODE_RANK of $(wc -l <<< "$SKYPILOT_SETUP_NODE_IPS" | tr -d ' ')" > ready
    run: |
      cat ready
      master=$(head -n1 <<< "$SKYPILOT_NODE_IPS")
      python3 standin_torchrun.py --nnodes=$SKYPILOT_NUM_NODES --node_rank=$SKYPILOT_NODE_RANK \\
        --master_addr=$master --master_port=8008 all_reduce.py > ~/log/rank-$SKYPILOT_NODE_RANK
      cat ~/log/rank-$SKYPILOT_NODE_RANK
    """,
    {"gang": ["(rank 0) set up 0 of 2", "(rank 0) rank 0 of 2 sum 3"]},
    beside={"train/standin_torchrun.py": STANDIN_TORCHRUN, "train/all_reduce.py": ALL_REDUCE},
)

# "If a task is preempted, it goes on from what it wrote to the mounted bucket."
CHECKPOINT = Case(
    """
    name: resumes
    resources: {infra: aws, cpus: 2+, memory: 4+, use_spot: true, job_recovery: {strategy: FAILOVER}}
    file_mounts:
      ~/checkpoint: {name: checkpoints-of-resumes, mode: MOUNT}
    run: |
      begin=$(cat ~/checkpoint/step 2>/dev/null || echo 0) step=$begin
      echo "$SKYPILOT_TASK_ID begins after $begin"
      trap 'echo "stopped after $step"; exit' TERM
      while [ $begin = 0 ] || [ $step -lt $((begin + 5)) ]; do
        echo $((step + 1)) > ~/checkpoint/step.tmp && mv ~/checkpoint/step.tmp ~/checkpoint/step
        step=$((step + 1)); echo "step $step"; sleep 0.05
      done
      echo "trained"
    """,
    {"resumes": ["step 20", "trained"]},
)

DOCKER = Case(
    f"""
    name: boxed
    resources: {SMALL.replace("}", ", image_id: 'docker:IMAGE'}")}
    envs: {{SKYPILOT_DOCKER_USERNAME: somebody, SKYPILOT_DOCKER_SERVER: REGISTRY}}
    secrets: {{SKYPILOT_DOCKER_PASSWORD: null}}
    workdir: code
    file_mounts: {{/data/given.txt: ./given.txt}}
    setup: cp /etc/os-release ~/at-setup
    run: |
      cat ~/at-setup /data/given.txt main.txt
      [ "$(realpath ~/sky_workdir)" = "$(realpath .)" ] && echo "in the workdir as $(id -u)"
    """,
    {"boxed": ["NAME=boxed", "a file", "the code", "in the workdir as 0"]},
    beside={"code/main.txt": "the code\n", "given.txt": "a file\n"},
    environ={"SKYPILOT_DOCKER_PASSWORD": "a password: with colons"},
)

FILE_MOUNTS = Case(
    f"""
    name: mounts
    resources: {SMALL}
    envs: {{BUCKET: others-data, PART: one}}
    file_mounts:
      ~/settings.yaml: ./settings.yaml
      /tmp/library: ./library
      /tmp/data: s3://${{BUCKET}}/${{PART}}
      ~/copied: {{source: "s3://others-data", mode: COPY}}
      ~/made: {{name: made-by-mounts, source: ./library, store: s3, mode: MOUNT}}
    setup: cat ~/settings.yaml > ~/at-setup
    run: |
      cat ~/at-setup /tmp/library/deep/module.txt /tmp/data/table.csv ~/copied/two/more.csv ~/made/deep/module.txt
      echo new > ~/copied/two/not-sent; echo result > ~/made/result
    """,
    {"mounts": ["the settings", "a module", "1,2", "3,4", "a module"]},
    beside={"settings.yaml": "the settings\n", "library/deep/module.txt": "a module\n"},
)

PIPELINE = Case(
    "name: in-a-row"
    + "".join(
        f"""
    ---
    name: {name}
    resources: {SMALL}
    envs: {{STAGE: {name}}}
    file_mounts: {{/tmp/shared: {{name: shared-in-a-row, mode: MOUNT}}}}
    run: |
      echo "$STAGE finds" $(ls /tmp/shared); touch /tmp/shared/$STAGE; {then}
    """
        for name, then in (("first", "true"), ("second", "exit 7"), ("third", "true"))
    ),
    {"first": ["first finds"], "second": ["second finds first"], "third": None},
    code=1,
)

# The cheaper one is sold out: the next is taken.
ANY_OF = Case(
    """
    name: either
    resources:
      any_of:
        - {infra: aws/us-east-1, instance_type: t3.small, use_spot: true}
        - {infra: aws/us-west-2, instance_type: m5.large}
    run: |
      python3 -c 'import json, os; c = json.loads(os.environ["SKYPILOT_CLUSTER_INFO"]); print(c["cloud"], c["region"])'
    """,
    {"either": ["AWS us-west-2"]},
)

ENVS = Case(
    f"""
    name: told
    resources: {SMALL}
    envs: {{MODEL: null, BATCH: 16, LR: 1e-4, MODE: on, HERE: "model is ${{MODEL}}", FROM_FILE: no}}
    file_mounts: {{"/tmp/${{MODEL}}.txt": "./${{MODEL}}.txt"}}
    setup: echo "set up for $MODEL" > ~/at-setup
    run: |
      cat ~/at-setup /tmp/$MODEL.txt
      echo "$MODEL ${{BATCH}} $LR $MODE $FROM_FILE"
    """,
    {"told": ["set up for small", "of the small one", "small 32 1e-4 on yes it is"]},
    beside={"small.txt": "of the small one\n", "my.env": "# mine\nFROM_FILE='yes it is'\nBATCH=8\n"},
    options=["--env-file", "my.env", "--env", "MODEL=small", "--env", "BATCH=32"],
)

PORTS = Case(
    f"""
    name: serves
    resources: {SMALL.replace("}", ", ports: [8765, 9000-9001]}")}
    workdir: site
    run: |
      python3 -c 'if True:
        import http.server, socketserver
        for port in (8765, 9001):
            with http.server.HTTPServer(("0.0.0.0", port), http.server.SimpleHTTPRequestHandler) as server:
                server.handle_request()
      '
      echo "was asked twice"
    """,
    {"serves": ["was asked twice"]},
    beside={"site/page.txt": "served\n"},
)

SECRETS = Case(
    f"""
    name: hides
    resources: {SMALL}
    envs: {{WHO: me}}
    secrets: {{API_TOKEN: null, SPARE: null}}
    setup: echo "set up with ${{#API_TOKEN}}" > ~/at-setup
    run: |
      cat ~/at-setup
      [ "$API_TOKEN" = "$(rev <<< 'drow-terces-eht')" ] && [ ${{#SPARE}} = 10 ] && echo "$WHO has both"
    """,
    {"hides": ["set up with 15", "me has both"]},
    options=["--secret", "API_TOKEN", "--secret", "SPARE=its-second"],
    environ={"API_TOKEN": "the-secret-word"},
)

WORKDIR = Case(
    f"""
    name: works
    resources: {SMALL}
    workdir: project
    setup: echo "made by setup" > prepared
    run: |
      pwd -P | grep -qx "$(realpath ~/sky_workdir)" && cat prepared
      ./tool.sh; echo $(ls -A | sort); echo $(ls data)
    """,
    {"works": ["made by setup", "a tool", ".gitignore .skyignore data prepared tool.sh", "kept.csv"]},
    beside={
        "project/tool.sh": "#!/bin/sh\necho a tool\n",
        "project/data/kept.csv": "1\n",
        "project/data/large.bin": "x",
        "project/notes.log": "x",
        "project/.gitignore": "kept.csv\n",  # where there is a .skyignore, that alone counts
        "project/.skyignore": "*.bin\n/notes.log\n",
    },
)

CASES = {
    "gang": GANG,
    "storage mount as checkpoint": CHECKPOINT,
    "docker image": DOCKER,
    "file_mounts": FILE_MOUNTS,
    "several documents": PIPELINE,
    "envs without a value": ENVS,
    "ports": PORTS,
    "secrets": SECRETS,
    "workdir": WORKDIR,
    "any_of": ANY_OF,
}


def written(text: str) -> str:
    """A file as it is written: each document begins at the margin."""
    return "---".join(textwrap.dedent(f"\n{part}") for part in text.split("---"))
