"""Jobs on real machines of the sandbox: start, follow, end; what the command sees; functions; gangs."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import threading
import time
from urllib.parse import quote

import fsspec
import pytest

from sky_core.errors import HostKeyMismatch, LinkLost, MachineError, TransferError
from sky_core.remote.artifacts import load_result, read_result, resolve, url_of
from sky_core.remote.executor import JobRequest
from sky_core.remote.functions import InputValue, RemoteError, pack
from sky_core.ssh.link import Link
from sky_core.ssh.machine import Machine
from tests.conftest import until
from tests.sandbox.loopback import lent, store_options
from tests.sandbox.park import BUCKET, archive

numbers = itertools.count(1)


@pytest.fixture(scope="module")
def machine(park):
    return park.boot()


def job(**about):
    return JobRequest(**{"job_id": f"flow/run 1/task-{next(numbers)}", "attempt": 1, "cloud": "aws", **about})


def agent_state(link, request):
    return json.loads(link.run(["cat", f".skyloom/jobs/{quote(request.job_id, safe='')}/{request.attempt}/state.json"]))


class TestLink:
    def test_runs_scripts_and_argument_lists(self, park, machine):
        link = Link(machine, park.keys)
        assert link.run("echo $((1 + 2)); cat", b"input") == b"3\ninput"
        assert link.run(["printf", "%s", "a b'$(c)\n"]) == b"a b'$(c)\n"
        data = os.urandom(5_000_000)
        link.put(data, "folder of mine/file", 0o640)
        assert link.run(["cat", "folder of mine/file"]) == data
        assert link.run(["stat", "-c", "%a", "folder of mine/file"]) == b"640\n"
        with pytest.raises(MachineError, match="exit status 3: no luck"):
            link.run("echo no luck >&2; exit 3")
        link.close()

    def test_another_host_key_is_refused(self, park, machine):
        other = park.boot()
        wrong = Machine(machine.ip, machine.port, machine.user, other.host_key)
        with pytest.raises(HostKeyMismatch, match="not the machine that was meant"):
            Link(wrong, park.keys).run("true")

    def test_a_cut_connection_is_told(self, park):
        machine = park.boot()
        link = Link(machine, park.keys)
        link.run("true")
        threading.Timer(0.5, park.kill, [machine]).start()
        with pytest.raises(LinkLost):
            link.run("echo partial output; sleep 60")
        with pytest.raises(LinkLost):
            link.run("true")

    def test_a_command_that_hangs(self, park, machine):
        with pytest.raises(LinkLost, match="in time"):
            Link(machine, park.keys).run("sleep 60", timeout_s=0.5)

    def test_a_kept_connection_that_broke_is_opened_again(self, park, machine):
        link = Link(machine, park.keys)
        link.run("true")
        link._transport.sock.close()
        assert link.run("echo back") == b"back\n"


class TestCommands:
    def test_what_the_command_sees(self, park, machine):
        script = 'echo "$A|$S|$SKY_NODE_RANK|$SKY_NUM_NODES|$SKY_NODE_IPS|$SKY_ATTEMPT"; test -d "$SKY_CHECKPOINT_DIR"'
        state = park.run(machine, job(run=script, envs={"A": "1 'x'"}, secrets={"S": "hidden"}, node_ips=["10.0.0.1"]))
        assert (state.phase, state.exit_code, state.log) == ("done", 0, b"1 'x'|hidden|0|1|10.0.0.1|1\n")
        assert state.log_size == state.log_offset == len(state.log)

    def test_secrets_are_in_no_file_and_on_no_command_line(self, park, machine, endpoint):
        secret = "uncommon-word-4711"
        options = {"s3": {**store_options(endpoint)["s3"], "secret": secret}}
        request = job(
            run="sleep 1.5", secrets={"S": secret}, storage_options=options, checkpoint_url="s3://jobs/secret-test"
        )
        park.executor.start([machine], request)
        park.follow(machine, request, lambda state: state.phase == "running")
        found = subprocess.run(["grep", "-rl", secret, str(park.folder(machine))], capture_output=True, text=True)
        assert found.stdout == ""
        lines = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True).stdout
        assert secret not in lines
        assert park.follow(machine, request).exit_code == 0

    def test_exit_code_and_setup(self, park, machine):
        assert park.run(machine, job(run="exit 3")).exit_code == 3
        assert park.run(machine, job(run="kill -9 $$")).exit_code == 137
        state = park.run(machine, job(setup="echo preparing; exit 4", run="echo never"))
        assert (state.exit_code, state.detail) == (4, "setup ended with exit code 4")
        assert b"never" not in state.log
        assert park.run(machine, job(setup="touch made", run="test -f made")).exit_code == 0

    def test_a_command_that_failed_is_run_again_where_that_is_asked_for(self, park, machine):
        script = "echo x >> tries; wc -l < tries; test $(wc -l < tries) -eq 4 || exit $CODE"
        state = park.run(machine, job(run=script, envs={"CODE": "1"}, restarts=3))
        assert (state.exit_code, state.log.count(b"run again")) == (0, 3)
        assert park.run(machine, job(run=script, envs={"CODE": "1"}, restarts=2)).exit_code == 1
        assert park.run(machine, job(run=script, envs={"CODE": "33"}, restart_on=(33,))).exit_code == 0

    def test_start_is_idempotent(self, park, machine):
        request = job(run="echo once; sleep 0.5")
        for _ in range(3):
            park.executor.start([machine], request)
        assert park.follow(machine, request).log == b"once\n"
        park.executor.start([machine], request)
        assert park.follow(machine, request).log == b"once\n"

    def test_unknown_jobs_are_missing(self, park, machine):
        assert park.executor.poll([machine], "nobody's job", 1, [0]).phase == "missing"
        park.executor.cancel([machine], "nobody's job", 1, 0)

    def test_cancel_ends_what_tried_to_escape(self, park, machine):
        request = job(run="setsid sleep 12345 & (trap '' TERM; sleep 12346) & trap 'echo bye; exit 0' TERM; wait; wait")
        park.executor.start([machine], request)
        link = Link(machine, park.keys)
        while b"12346" not in link.run("ps -eo args"):
            time.sleep(0.05)
        park.executor.cancel([machine], request.job_id, request.attempt, 0.5)
        state = park.follow(machine, request)
        assert (state.phase, state.exit_code, state.detail) == ("done", None, "cancelled")
        assert b"bye" in state.log
        assert b"1234" not in link.run("ps -eo args")

    def test_what_the_command_leaves_running_ends_with_it(self, park, machine):
        state = park.run(machine, job(run="setsid sleep 23456 & sleep 23457 & echo done"))
        assert (state.exit_code, state.log) == (0, b"done\n")
        assert b"2345" not in Link(machine, park.keys).run("ps -eo args")

    def test_a_long_log_arrives_once_and_in_order(self, park, machine):
        request = job(run="seq 1 300000; sleep 0.3; seq 300001 600000")
        park.executor.start([machine], request)
        log = b""
        for turn in itertools.count():
            if turn % 3 == 2:
                park.executor.close()  # a driver that starts anew
            state = park.executor.poll([machine], request.job_id, request.attempt, [len(log)])
            log += state.log
            if state.phase == "done":
                break
        assert log == b"".join(b"%d\n" % i for i in range(1, 600_001))

    def test_a_killed_agent_is_lost_and_takes_the_job_with_it(self, park, machine):
        request = job(run="sleep 34567")
        park.executor.start([machine], request)
        park.follow(machine, request, lambda state: state.phase == "running")
        link = Link(machine, park.keys)
        link.run(f"kill -9 {agent_state(link, request)['pid']}")
        state = park.follow(machine, request)
        assert (state.phase, state.detail) == ("lost", "the agent was killed or the machine was restarted")
        assert b"34567" not in link.run("ps -eo args")

    def test_a_machine_that_dies_is_not_reached(self, park):
        machine = park.boot()
        request = job(run="sleep 100")
        park.executor.start([machine], request)
        park.kill(machine)
        with pytest.raises(LinkLost):
            park.executor.poll([machine], request.job_id, 1, [0])


class TestWorkdir:
    def test_is_sent_once_and_heeds_gitignore(self, park, machine, tmp_path):
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub/tool.sh").write_text("echo from the workdir")
        (tmp_path / "sub/tool.sh").chmod(0o755)
        (tmp_path / ".gitignore").write_text("*.bin\n")
        (tmp_path / "large.bin").write_bytes(b"x" * 1000)
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
        state = park.run(
            machine, job(workdir=archive(tmp_path), run="find . -type f | sort; bash sub/tool.sh; touch new")
        )
        assert state.log == b"./.gitignore\n./sub/tool.sh\nfrom the workdir\n"
        (tmp_path / "sub/tool.sh").touch()
        park.run(machine, job(workdir=archive(tmp_path), run="test ! -f new"))
        assert len(list((park.folder(machine) / ".skyloom/workdirs").iterdir())) == 1


class TestData:
    @pytest.mark.parametrize("kind", ["s3", "gs", "abfs"])
    def test_inputs_and_outputs(self, park, machine, endpoint, kind):
        options = lent(endpoint)
        filesystem = fsspec.filesystem(kind, **store_options(endpoint)[kind])
        folder = f"{BUCKET[kind]}/plain-{next(numbers)}"
        filesystem.pipe({f"{folder}/tree/a.txt": b"aaa", f"{folder}/tree/sub/b.txt": b"bb", f"{folder}/one.csv": b"1"})
        outputs = {name: url_of(BUCKET[kind], f"run-{next(numbers)}", "first", name) for name in ("model", "file")}
        script = (
            'cat "$SKY_INPUT_TREE/a.txt" "$SKY_INPUT_TREE/sub/b.txt" "$SKY_INPUT_ONE"; echo; basename $SKY_INPUT_ONE; '
            "mkdir -p $SKY_OUTPUT_MODEL/deep/empty; cp -r $SKY_INPUT_TREE/. $SKY_OUTPUT_MODEL/deep; "
            "ln -s deep/a.txt $SKY_OUTPUT_MODEL/link; chmod +x $SKY_OUTPUT_MODEL/deep/a.txt; echo 42 > $SKY_OUTPUT_FILE"
        )
        first = job(
            run=script, storage_options=options, outputs=outputs,
            inputs={"tree": f"{folder}/tree", "one": f"{folder}/one.csv"},
        )  # fmt: skip
        state = park.run(machine, first)
        assert (state.exit_code, state.log) == (0, b"aaabb1\none.csv\n")
        assert state.moved == {"inputs": {"tree": 5, "one": 1}, "outputs": {"model": 5, "file": 3}}
        found = resolve(outputs["model"], options)
        assert (found.kind, found.size) == ("folder", 5)
        assert found.files == {"deep/a.txt": 3, "deep/sub/b.txt": 2, "link": 0}
        second = job(
            run="cd $SKY_INPUT_MODEL && cat link deep/sub/b.txt && test -x deep/a.txt -a -L link -a -d deep/empty && "
            "cat $SKY_INPUT_FILE",
            inputs=outputs, storage_options=options,
        )  # fmt: skip
        assert park.run(machine, second).log == b"aaabb42\n"

    def test_an_input_that_is_not_there(self, park, machine, endpoint):
        request = job(run="echo never", inputs={"x": "s3://jobs/nothing"}, storage_options=store_options(endpoint))
        state = park.run(machine, request)
        assert (state.phase, state.exit_code) == ("done", None)
        assert "there is nothing at s3://jobs/nothing" in state.detail

    def test_an_output_that_was_not_written(self, park, machine, endpoint):
        request = job(run="true", outputs={"x": "s3://jobs/missing-output"}, storage_options=store_options(endpoint))
        state = park.run(machine, request)
        assert (state.phase, state.exit_code) == ("done", 1)
        assert "$SKY_OUTPUT_X" in state.detail
        assert resolve("s3://jobs/missing-output", store_options(endpoint)) is None

    def test_a_failed_command_publishes_nothing(self, park, machine, endpoint):
        request = job(
            run="echo half > $SKY_OUTPUT_X; exit 1", outputs={"x": "s3://jobs/half"},
            storage_options=store_options(endpoint),
        )  # fmt: skip
        assert park.run(machine, request).exit_code == 1
        assert resolve("s3://jobs/half", store_options(endpoint)) is None

    def test_a_damaged_artifact_is_refused(self, park, machine, endpoint):
        options = store_options(endpoint)
        url = "s3://jobs/damaged"
        made = job(run="echo right > $SKY_OUTPUT_X", outputs={"x": url}, storage_options=options)
        park.run(machine, made)
        store = fsspec.filesystem("s3", **options["s3"])
        data = json.loads(store.cat_file(f"{url}/manifest.json"))["data"]
        store.pipe_file(f"{url}/{data}/x", b"wrong\n")
        state = park.run(machine, job(run="echo never", inputs={"x": url}, storage_options=options))
        assert "differs from what it should be" in state.detail


class TestFunctions:
    def call(self, park, machine, endpoint, function, *args, inputs=None, **about):
        url = f"s3://jobs/results/{next(numbers)}"
        options = store_options(endpoint)
        request = job(
            payload=pack(function, args), outputs={"result": url}, inputs=inputs or {}, storage_options=options, **about
        )
        return park.run(machine, request), url, options

    def test_value(self, park, machine, endpoint):
        def double(x):
            print("doubling")
            return {"value": x * 2, "pid": os.getpid()}

        state, url, options = self.call(park, machine, endpoint, double, [1, 2])
        assert (state.exit_code, state.log) == (0, b"doubling\n")
        assert load_result(read_result(url, options))["value"] == [1, 2, 1, 2]

    def test_async_and_results_of_other_functions(self, park, machine, endpoint):
        async def slow(x):
            await asyncio.sleep(0.01)
            return x + 1

        _, first, _ = self.call(park, machine, endpoint, slow, 41)
        fsspec.filesystem("s3", **store_options(endpoint)["s3"]).pipe_file("s3://jobs/words.txt", b"hello")

        def join(values, path):
            return values["deep"][0], path.read_text(), path.name

        state, url, options = self.call(
            park, machine, endpoint, join, {"deep": [InputValue("number")]}, InputValue("words"),
            inputs={"number": first, "words": "s3://jobs/words.txt"},
        )  # fmt: skip
        assert state.exit_code == 0, state.log
        assert load_result(read_result(url, options)) == (42, "hello", "words.txt")

    def test_exceptions_come_back(self, park, machine, endpoint):
        def fail():
            raise ValueError("no good")

        state, url, options = self.call(park, machine, endpoint, fail)
        assert state.exit_code == 1
        assert b"Traceback" in state.log
        assert b"ValueError: no good" in state.log
        with pytest.raises(ValueError, match="no good"):
            load_result(read_result(url, options))

    def test_exceptions_that_cannot_be_pickled_come_back_as_text(self, park, machine, endpoint):
        def fail():
            class Local(Exception):
                def __init__(self, one, two):
                    super().__init__(f"{one} and {two}")
                    self.lines = (line for line in "open")

            raise Local("this", "that")

        state, url, options = self.call(park, machine, endpoint, fail)
        assert state.exit_code == 1
        with pytest.raises(RemoteError, match="Local: this and that"):
            load_result(read_result(url, options))

    def test_system_exit_keeps_its_code(self, park, machine, endpoint):
        def leave(code):
            raise SystemExit(code)

        assert self.call(park, machine, endpoint, leave, 7)[0].exit_code == 7
        assert self.call(park, machine, endpoint, leave, None)[0].exit_code == 0
        state = self.call(park, machine, endpoint, leave, "told why")[0]
        assert (state.exit_code, state.log) == (1, b"told why\n")

    def test_a_value_that_cannot_be_pickled(self, park, machine, endpoint):
        def locked():
            return threading.Lock()

        state, _, _ = self.call(park, machine, endpoint, locked)
        assert state.exit_code == 1
        assert b"the function's value, a lock, cannot be pickled" in state.log

    def test_a_python_that_cannot_be_brought_is_told_with_the_cure(self, park, machine):
        payload = pack(print).replace(b" 3.11\n", b" 3.5\n", 1)
        with pytest.raises(MachineError, match=r"no Python of our own could be brought there.*\[python\] index"):
            park.run(machine, job(payload=payload))

    def test_modules_of_the_workdir(self, park, machine, endpoint, tmp_path):
        (tmp_path / "helper_of_mine.py").write_text("ANSWER = 42\n")

        def use():
            import helper_of_mine

            return helper_of_mine.ANSWER

        _, url, options = self.call(park, machine, endpoint, use, workdir=archive(tmp_path))
        assert load_result(read_result(url, options)) == 42

    def test_no_result(self, endpoint):
        with pytest.raises(TransferError, match="there is nothing"):
            read_result("s3://jobs/no-result", store_options(endpoint))


class TestGangs:
    def test_ranks_and_addresses(self, park):
        machines = [park.boot() for _ in range(3)]
        ips = [machine.ip for machine in machines]
        told = (
            "$SKY_NODE_RANK/$SKY_NUM_NODES $(echo $SKY_NODE_IPS) $MASTER_ADDR $NODE_RANK $(cat $SKY_HOSTFILE | wc -l)"
        )
        lines = "for i in $(seq 2000); do echo $i; done; printf 'no newline'"
        request = job(run=f"echo {told}; sleep 0.$SKY_NODE_RANK; {lines}", node_ips=ips)
        state = park.run(machines, request)
        assert state.exit_code == 0
        for rank in range(3):
            mark = f"(rank {rank}) "
            found = [line.removeprefix(mark) for line in state.log.decode().splitlines() if line.startswith(mark)]
            assert found == [f"{rank}/3 {' '.join(ips)} {ips[0]} {rank} 3", *map(str, range(1, 2001)), "no newline"]

    def test_they_log_in_to_each_other_with_a_key_of_their_own(self, park):
        machines = [park.boot() for _ in range(2)]
        key = park.host_key("gang")
        script = """
          test $SKY_NODE_RANK = 1 && until test -e ~/met; do sleep 0.05; done && exit
          for to in node-1 $(tail -n 1 $SKY_HOSTFILE); do ssh $to 'echo $(hostname) lets $SSH_CONNECTION in'; done
          ssh node-1 touch met
        """
        request = job(run=script, node_ips=[machine.ip for machine in machines], gang_key=key)
        state = park.run(machines, request)
        assert (state.exit_code, state.log.count(b" in\n")) == (0, 2), state.log
        for machine in machines:
            until(lambda: not list(park.folder(machine).glob(".skyloom/gangs/*")))  # noqa: B023
            assert "gangs" not in (park.folder(machine) / ".ssh/authorized_keys").read_text()
            assert (park.folder(machine) / ".ssh/config").read_text() == ""

    def test_one_node_that_fails_or_dies_ends_the_gang(self, park):
        machines = [park.boot() for _ in range(2)]
        script = """
          if [ $SKY_NODE_RANK = 1 ]; then echo "out of luck"; exit 5; fi
          trap "echo told to end; exit" TERM; touch ~/begun; sleep 100 & wait
        """
        request = job(run=script, node_ips=["a", "b"])
        park.executor.start(machines[:1], request)
        until(lambda: (park.folder(machines[0]) / "begun").exists())
        park.executor.start(machines, request)
        until(lambda: park.executor._poll(machines[1], request.job_id, 1, 0).phase == "done")
        state = park.follow(machines, request)  # the first look is the last
        assert (state.phase, state.exit_code, state.detail) == ("done", 5, "rank 1: exit code 5")
        assert state.log == b"(rank 0) told to end\n(rank 1) out of luck\n"
        once_more = park.executor.poll(machines, request.job_id, 1, state.offsets)
        assert (once_more.log, once_more.exit_code) == (b"", 5)
        again = job(run="sleep 100", node_ips=["a", "b"])
        park.executor.start(machines, again)
        park.kill(machines[1])
        with pytest.raises(LinkLost):
            park.executor.poll(machines, again.job_id, 1, [])
