CREATE TABLE public.clusters (
    token character varying(40) NOT NULL,
    job_id character varying(40) NOT NULL,
    attempt integer NOT NULL,
    state character varying(20) NOT NULL,
    cloud character varying(40) NOT NULL,
    region character varying(80) NOT NULL,
    zone character varying(80),
    instance_type character varying(80) NOT NULL,
    use_spot boolean NOT NULL,
    num_nodes integer NOT NULL,
    price double precision NOT NULL,
    host_key text NOT NULL,
    intended_at double precision NOT NULL,
    launched_at double precision,
    ended_at double precision,
    instance_ids text NOT NULL,
    outcome character varying(40) NOT NULL,
    accelerator character varying(80)
);
CREATE TABLE public.events (
    id integer NOT NULL,
    job_id character varying(40) NOT NULL,
    at double precision NOT NULL,
    kind character varying(40) NOT NULL,
    data text NOT NULL
);
CREATE SEQUENCE public.events_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.events_id_seq OWNED BY public.events.id;
CREATE TABLE public.jobs (
    id character varying(40) NOT NULL,
    key character varying(1000) NOT NULL,
    plan_key character varying(500) NOT NULL,
    task character varying(200) NOT NULL,
    spec text NOT NULL,
    state character varying(20) NOT NULL,
    owner character varying(200),
    attempt integer NOT NULL,
    created_at double precision NOT NULL,
    updated_at double precision NOT NULL,
    wake_at double precision NOT NULL,
    cancel_reason text,
    memory text NOT NULL,
    result text NOT NULL,
    lease_holder character varying(80),
    lease_until double precision NOT NULL
);
CREATE TABLE public.logs (
    job_id character varying(40) NOT NULL,
    "offset" integer NOT NULL,
    data bytea NOT NULL
);
CREATE TABLE public.meta (
    key character varying(64) NOT NULL,
    value text NOT NULL
);
CREATE TABLE public.observations (
    id integer NOT NULL,
    at double precision NOT NULL,
    cloud character varying(40) NOT NULL,
    region character varying(80) NOT NULL,
    zone character varying(80),
    instance_type character varying(80) NOT NULL,
    market character varying(20) NOT NULL,
    kind character varying(20) NOT NULL,
    scope character varying(20) NOT NULL,
    hours double precision,
    accelerator character varying(80)
);
CREATE SEQUENCE public.observations_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.observations_id_seq OWNED BY public.observations.id;
CREATE TABLE public.payloads (
    sha256 character varying(64) NOT NULL,
    data bytea NOT NULL
);
CREATE TABLE public.plans (
    key character varying(500) NOT NULL,
    version integer NOT NULL,
    created_at double precision NOT NULL,
    pipeline text NOT NULL,
    plan text NOT NULL
);
CREATE TABLE public.runs (
    id integer NOT NULL,
    at double precision NOT NULL,
    pipeline character varying(500) NOT NULL,
    task character varying(200) NOT NULL,
    cloud character varying(40) NOT NULL,
    region character varying(80) NOT NULL,
    instance_type character varying(80) NOT NULL,
    accelerator character varying(80),
    accelerator_count double precision NOT NULL,
    use_spot boolean NOT NULL,
    hours double precision NOT NULL,
    input_gb double precision NOT NULL
);
CREATE SEQUENCE public.runs_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.runs_id_seq OWNED BY public.runs.id;
ALTER TABLE ONLY public.events ALTER COLUMN id SET DEFAULT nextval('public.events_id_seq'::regclass);
ALTER TABLE ONLY public.observations ALTER COLUMN id SET DEFAULT nextval('public.observations_id_seq'::regclass);
ALTER TABLE ONLY public.runs ALTER COLUMN id SET DEFAULT nextval('public.runs_id_seq'::regclass);
INSERT INTO public.clusters VALUES ('sky-1-1', 'job-b6dc2d0f354d474d', 1, 'launched', 'gcp', 'us-central1', 'us-central1-a', 'n1-standard-8', true, 1, 0.25, 'ssh-ed25519 AAAA', 1700000001, 1700000002, NULL, '["i-1", "i-2"]', '', 'T4');
INSERT INTO public.events VALUES (1, 'job-b6dc2d0f354d474d', 1700000000.5, 'submitted', '{"task": "train", "plan": "flow/run-1"}');
INSERT INTO public.events VALUES (2, 'job-97bce0e2dbf2dd7e', 1700000000.5, 'submitted', '{"task": "eval", "plan": "flow/run-1"}');
INSERT INTO public.events VALUES (3, 'job-b6dc2d0f354d474d', 1700000000.5, 'launched', '{"n": 1}');
INSERT INTO public.jobs VALUES ('job-97bce0e2dbf2dd7e', 'flow/run-1/eval/0', 'flow/run-1', 'eval', '{"name": "eval"}', 'submitted', NULL, 0, 1700000000.5, 1700000000.5, 1700000000.5, NULL, '{}', '{}', NULL, 0);
INSERT INTO public.jobs VALUES ('job-b6dc2d0f354d474d', 'flow/run-1/train/0', 'flow/run-1', 'train', '{"name": "train"}', 'running', 'try-1', 1, 1700000000.5, 1700000000.5, 1700000005.25, NULL, '{"x": [1, 2]}', '{}', 'host-1-abc', 1700000060.5);
INSERT INTO public.logs VALUES ('job-b6dc2d0f354d474d', 0, '\x68656c6c6f0a');
INSERT INTO public.meta VALUES ('id', 'sky-8fc244a1549547ee');
INSERT INTO public.observations VALUES (1, 1700000003, 'gcp', 'us-central1', NULL, 'n1-standard-8', 'spot', 'capacity', 'region', NULL, 'T4');
INSERT INTO public.payloads VALUES ('34df0af5f543b1a3935e89cbd4356abea2165656212d82216206bac6f0416aaa', '\x007069636b6c6564ff');
INSERT INTO public.plans VALUES ('flow/run-1', 1, 1700000000.5, '{"name": "p"}', '{"version": 1}');
INSERT INTO public.plans VALUES ('flow/run-1', 2, 1700000000.5, '{"name": "p"}', '{"version": 2}');
INSERT INTO public.runs VALUES (1, 1700000004, 'p', 'train', 'aws', 'us-east-1', 'p3.2xlarge', 'V100', 1, false, 1.5, 2);
SELECT pg_catalog.setval('public.events_id_seq', 3, true);
SELECT pg_catalog.setval('public.observations_id_seq', 1, true);
SELECT pg_catalog.setval('public.runs_id_seq', 1, true);
ALTER TABLE ONLY public.clusters
    ADD CONSTRAINT clusters_pkey PRIMARY KEY (token);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_key_key UNIQUE (key);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.logs
    ADD CONSTRAINT logs_pkey PRIMARY KEY (job_id, "offset");
ALTER TABLE ONLY public.meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.observations
    ADD CONSTRAINT observations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.payloads
    ADD CONSTRAINT payloads_pkey PRIMARY KEY (sha256);
ALTER TABLE ONLY public.plans
    ADD CONSTRAINT plans_pkey PRIMARY KEY (key, version);
ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (id);
CREATE INDEX ix_clusters_job_id ON public.clusters USING btree (job_id);
CREATE INDEX ix_events_job_id ON public.events USING btree (job_id);
CREATE INDEX ix_observations_at ON public.observations USING btree (at);
CREATE INDEX ix_runs_pipeline ON public.runs USING btree (pipeline);
CREATE INDEX jobs_due ON public.jobs USING btree (state, wake_at);
CREATE INDEX jobs_of_plan ON public.jobs USING btree (plan_key, task);
