CREATE TABLE clusters (
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
CREATE TABLE events (
    id integer NOT NULL,
    job_id character varying(40) NOT NULL,
    at double precision NOT NULL,
    kind character varying(40) NOT NULL,
    data text NOT NULL
);
CREATE SEQUENCE events_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE events_id_seq OWNED BY events.id;
CREATE TABLE jobs (
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
CREATE TABLE logs (
    job_id character varying(40) NOT NULL,
    "offset" integer NOT NULL,
    data bytea NOT NULL
);
CREATE TABLE meta (
    key character varying(64) NOT NULL,
    value text NOT NULL
);
CREATE TABLE observations (
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
CREATE SEQUENCE observations_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE observations_id_seq OWNED BY observations.id;
CREATE TABLE payloads (
    sha256 character varying(64) NOT NULL,
    data bytea NOT NULL
);
CREATE TABLE plans (
    key character varying(500) NOT NULL,
    version integer NOT NULL,
    created_at double precision NOT NULL,
    pipeline text NOT NULL,
    plan text NOT NULL
);
CREATE TABLE runs (
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
CREATE SEQUENCE runs_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE runs_id_seq OWNED BY runs.id;
ALTER TABLE ONLY events ALTER COLUMN id SET DEFAULT nextval('events_id_seq'::regclass);
ALTER TABLE ONLY observations ALTER COLUMN id SET DEFAULT nextval('observations_id_seq'::regclass);
ALTER TABLE ONLY runs ALTER COLUMN id SET DEFAULT nextval('runs_id_seq'::regclass);
INSERT INTO clusters VALUES ('sky-1-1', 'job-b6dc2d0f354d474d', 1, 'launched', 'gcp', 'us-central1', 'us-central1-a', 'n1-standard-8', true, 1, 0.25, 'ssh-ed25519 AAAA', 1700000001, 1700000002, NULL, '["i-1", "i-2"]', '', 'T4');
INSERT INTO events VALUES (1, 'job-b6dc2d0f354d474d', 1700000000.5, 'submitted', '{"task": "train", "plan": "flow/run-1"}');
INSERT INTO events VALUES (2, 'job-97bce0e2dbf2dd7e', 1700000000.5, 'submitted', '{"task": "eval", "plan": "flow/run-1"}');
INSERT INTO events VALUES (3, 'job-b6dc2d0f354d474d', 1700000000.5, 'launched', '{"n": 1}');
INSERT INTO jobs VALUES ('job-97bce0e2dbf2dd7e', 'flow/run-1/eval/0', 'flow/run-1', 'eval', '{"name": "eval"}', 'submitted', NULL, 0, 1700000000.5, 1700000000.5, 1700000000.5, NULL, '{}', '{}', NULL, 0);
INSERT INTO jobs VALUES ('job-b6dc2d0f354d474d', 'flow/run-1/train/0', 'flow/run-1', 'train', '{"name": "train"}', 'running', 'try-1', 1, 1700000000.5, 1700000000.5, 1700000005.25, NULL, '{"x": [1, 2]}', '{}', 'host-1-abc', 1700000060.5);
INSERT INTO logs VALUES ('job-b6dc2d0f354d474d', 0, '\x68656c6c6f0a');
INSERT INTO meta VALUES ('id', 'sky-8fc244a1549547ee');
INSERT INTO observations VALUES (1, 1700000003, 'gcp', 'us-central1', NULL, 'n1-standard-8', 'spot', 'capacity', 'region', NULL, 'T4');
INSERT INTO payloads VALUES ('34df0af5f543b1a3935e89cbd4356abea2165656212d82216206bac6f0416aaa', '\x007069636b6c6564ff');
INSERT INTO plans VALUES ('flow/run-1', 1, 1700000000.5, '{"name": "p"}', '{"version": 1}');
INSERT INTO plans VALUES ('flow/run-1', 2, 1700000000.5, '{"name": "p"}', '{"version": 2}');
INSERT INTO runs VALUES (1, 1700000004, 'p', 'train', 'aws', 'us-east-1', 'p3.2xlarge', 'V100', 1, false, 1.5, 2);
SELECT pg_catalog.setval('events_id_seq', 3, true);
SELECT pg_catalog.setval('observations_id_seq', 1, true);
SELECT pg_catalog.setval('runs_id_seq', 1, true);
ALTER TABLE ONLY clusters
    ADD CONSTRAINT clusters_pkey PRIMARY KEY (token);
ALTER TABLE ONLY events
    ADD CONSTRAINT events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY jobs
    ADD CONSTRAINT jobs_key_key UNIQUE (key);
ALTER TABLE ONLY jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY logs
    ADD CONSTRAINT logs_pkey PRIMARY KEY (job_id, "offset");
ALTER TABLE ONLY meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (key);
ALTER TABLE ONLY observations
    ADD CONSTRAINT observations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY payloads
    ADD CONSTRAINT payloads_pkey PRIMARY KEY (sha256);
ALTER TABLE ONLY plans
    ADD CONSTRAINT plans_pkey PRIMARY KEY (key, version);
ALTER TABLE ONLY runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (id);
CREATE INDEX ix_clusters_job_id ON clusters USING btree (job_id);
CREATE INDEX ix_events_job_id ON events USING btree (job_id);
CREATE INDEX ix_observations_at ON observations USING btree (at);
CREATE INDEX ix_runs_pipeline ON runs USING btree (pipeline);
CREATE INDEX jobs_due ON jobs USING btree (state, wake_at);
CREATE INDEX jobs_of_plan ON jobs USING btree (plan_key, task);
