"""Templates, parameters and other tasks' results in the fields of a command and in a task's needs."""

from airflow.sdk import chain, task

from tests.airflow.grammar.kit import SMALL
from tests.airflow.grammar.registry import case

READ = "cat $SKY_INPUT_X > $SKY_OUTPUT_O"


@case(params={"n": 3}, conf={"n": 4})
def a_parameter_given_to_the_run(kit):
    made = kit.command("made", "echo {{ params.n }} > $SKY_OUTPUT_O", outputs={"o": {}})
    kit.result(kit.output(made, "o"))


@case(conf={"who": "me"})
def the_runs_conf(kit):
    made = kit.command("made", "echo {{ dag_run.conf.get('who', 'nobody') }} > $SKY_OUTPUT_O", outputs={"o": {}})
    kit.result(kit.output(made, "o"))


@case(user_defined_macros={"shout": str.upper}, user_defined_filters={"twice": lambda text: text * 2})
def macros_and_filters_of_the_dag(kit):
    made = kit.command("made", "echo {{ shout('a') }}{{ 'b' | twice }} > $SKY_OUTPUT_O", outputs={"o": {}})
    kit.result(kit.output(made, "o"))


@case()
def airflows_macros_and_filters(kit):
    run = "echo {{ macros.ds_add('2026-01-31', 1) }} {{ logical_date | ds | length }} > $SKY_OUTPUT_O"
    kit.result(kit.output(kit.command("made", run, outputs={"o": {}}), "o"))


@case(params={"words": ["a", "b"]})
def a_loop_in_a_command(kit):
    run = "{% for word in params.words %}echo {{ loop.index }}{{ word }} >> $SKY_OUTPUT_O\n{% endfor %}"
    kit.result(kit.output(kit.command("made", run, outputs={"o": {}}), "o"))


@case(jinja_environment_kwargs={"variable_start_string": "[[", "variable_end_string": "]]"}, params={"n": 1})
def other_delimiters(kit):
    envs = {"A": "[[ params.n + 1 ]]"}
    more = {"hours": "[[ params.n / 100 ]]", "num_nodes": "[[ params.n ]]"}
    kit.result(
        kit.output(kit.command("made", "echo $A {{x}} > $SKY_OUTPUT_O", envs=envs, outputs={"o": {}}, **more), "o")
    )


@case()
def an_xcom_in_an_f_string(kit):
    number = kit.function(lambda: 6, task_id="number")()
    made = kit.command("made", f"echo {number} > $SKY_OUTPUT_O", outputs={"o": {}})
    number >> made
    kit.result(kit.output(made, "o"))


@case()
def an_xcom_pulled_in_a_template(kit):
    number = kit.function(lambda: {"a": 6}, task_id="number")()
    run = "echo {{ ti.xcom_pull(task_ids='number')['a'] + 1 }} > $SKY_OUTPUT_O"
    made = kit.command("made", run, outputs={"o": {}})
    use = kit.function(lambda path, n: [open(path).read(), n], task_id="use")  # noqa: SIM115
    number >> made
    kit.result(use(kit.output(made, "o"), "{{ ti.xcom_pull(task_ids='number')['a'] }}"))


@case()
def an_output_pulled_in_a_template(kit):
    made = kit.command("made", "echo 4 > $SKY_OUTPUT_O", outputs={"o": {}})
    use = kit.command("use", READ, inputs={"x": "{{ ti.xcom_pull(task_ids='made', key='o') }}"}, outputs={"o": {}})
    made >> use
    kit.result(kit.output(use, "o"))


@case(params={"needs": {**SMALL}})
def needs_by_parameters(kit):
    kit.result(kit.function(lambda: 1, task_id="made", requires="{{ params.needs }}")())


@case(params={"type": "t3.small", "n": 1, "hours": 0.02})
def needs_by_parts(kit):
    needs = {**SMALL, "instance_type": "{{ params.type }}"}
    make = kit.function(
        lambda: 1, task_id="made", requires=needs, num_nodes="{{ params.n }}", hours="{{ params.hours }}"
    )
    kit.result(make())


@case()
def needs_from_a_task(kit):
    @task(multiple_outputs=True)
    def chosen():
        return {"needs": {**SMALL}, "hours": 0.02}

    said = chosen()
    made = kit.command("made", "echo 1 > $SKY_OUTPUT_O", outputs={"o": {}}, requires=said["needs"], hours=said["hours"])
    use = kit.function(lambda path: open(path).read(), task_id="use", requires=said["needs"])  # noqa: SIM115
    said >> [made]
    kit.result(use(kit.output(made, "o")))


@case()
def a_parameter_of_the_dag_as_an_argument(kit):
    n = kit.dag.param("n", 2)
    made = kit.command("made", "echo $N > $SKY_OUTPUT_O", envs={"N": n}, outputs={"o": {}})
    use = kit.function(lambda path, n: [open(path).read(), n], task_id="use")  # noqa: SIM115
    kit.result(use(kit.output(made, "o"), n))


@case()
def envs_of_all_kinds(kit):
    envs = {"A": 1, "B": 2.5, "D": "", "E": "x y'\"$HOME"}
    run = 'printf "%s|" "$A" "$B" "$D" "$E" > $SKY_OUTPUT_O'
    kit.result(kit.output(kit.command("made", run, envs=envs, outputs={"o": {}}), "o"))


@case(params={"gb": 0.01})
def a_templated_size(kit):
    made = kit.command("made", "echo 1 > $SKY_OUTPUT_O", outputs={"o": {"size_gb": "{{ params.gb }}"}})
    kit.result(kit.output(made, "o"))


@case(default_args={"envs": {"A": "all"}})
def defaults_of_the_dag(kit):
    made = kit.command("made", "echo $A > $SKY_OUTPUT_O", outputs={"o": {}})
    kit.result(kit.output(made, "o"))


@case()
def a_diamond_of_commands(kit):
    top = kit.command("top", "echo 1 > $SKY_OUTPUT_O", outputs={"o": {}})
    sides = [kit.command(name, READ, inputs={"x": kit.output(top, "o")}, outputs={"o": {}}) for name in ("a", "b")]
    given = {name: kit.output(side, "o") for name, side in zip("lr", sides, strict=True)}
    joined = kit.command(
        "join", "cat $SKY_INPUT_L $SKY_INPUT_R | wc -l > $SKY_OUTPUT_O", inputs=given, outputs={"o": {}}
    )
    kit.result(kit.output(joined, "o"))


@case()
def a_folder_as_an_output(kit):
    made = kit.command("made", "mkdir -p $SKY_OUTPUT_O && echo 1 > $SKY_OUTPUT_O/a", outputs={"o": {}})
    read = kit.function(
        lambda path: sorted(one.name for one in __import__("pathlib").Path(path).iterdir()), task_id="read"
    )
    kit.result(read(kit.output(made, "o")))


@case()
def two_outputs_of_one(kit):
    made = kit.command("made", "echo 1 > $SKY_OUTPUT_A; echo 2 > $SKY_OUTPUT_B", outputs={"a": {}, "b": {}})
    given = {"x": kit.output(made, "b"), "y": kit.output(made, "a")}
    use = kit.command("use", "cat $SKY_INPUT_X $SKY_INPUT_Y > $SKY_OUTPUT_O", inputs=given, outputs={"o": {}})
    kit.result(kit.output(use, "o"))


@case()
def a_chain(kit):
    a, b, c = (kit.command(name, f"echo {name}") for name in "abc")
    last = kit.function(lambda: "done", task_id="last")()
    chain(a, [b, c], last)
    kit.result(last)
