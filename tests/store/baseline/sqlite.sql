BEGIN TRANSACTION;
CREATE TABLE clusters (
	token VARCHAR(40) NOT NULL, 
	job_id VARCHAR(40) NOT NULL, 
	attempt INTEGER NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	cloud VARCHAR(40) NOT NULL, 
	region VARCHAR(80) NOT NULL, 
	zone VARCHAR(80), 
	instance_type VARCHAR(80) NOT NULL, 
	use_spot BOOLEAN NOT NULL, 
	num_nodes INTEGER NOT NULL, 
	price FLOAT NOT NULL, 
	host_key TEXT NOT NULL, 
	intended_at FLOAT NOT NULL, 
	launched_at FLOAT, 
	ended_at FLOAT, 
	instance_ids TEXT NOT NULL, 
	outcome VARCHAR(40) NOT NULL, 
	accelerator VARCHAR(80), 
	PRIMARY KEY (token)
);
INSERT INTO "clusters" VALUES('sky-1-1','job-b6dc2d0f354d474d',1,'launched','gcp','us-central1','us-central1-a','n1-standard-8',1,1,0.25,'ssh-ed25519 AAAA',1700000001.0,1700000002.0,NULL,'["i-1", "i-2"]','','T4');
CREATE TABLE events (
	id INTEGER NOT NULL, 
	job_id VARCHAR(40) NOT NULL, 
	at FLOAT NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	data TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "events" VALUES(1,'job-b6dc2d0f354d474d',1700000000.5,'submitted','{"task": "train", "plan": "flow/run-1"}');
INSERT INTO "events" VALUES(2,'job-5a2f2d17b424c955',1700000000.5,'submitted','{"task": "eval", "plan": "flow/run-1"}');
INSERT INTO "events" VALUES(3,'job-b6dc2d0f354d474d',1700000000.5,'launched','{"n": 1}');
CREATE TABLE jobs (
	id VARCHAR(40) NOT NULL, 
	"key" VARCHAR(1000) NOT NULL, 
	plan_key VARCHAR(500) NOT NULL, 
	task VARCHAR(200) NOT NULL, 
	spec TEXT NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	owner VARCHAR(200), 
	attempt INTEGER NOT NULL, 
	created_at FLOAT NOT NULL, 
	updated_at FLOAT NOT NULL, 
	wake_at FLOAT NOT NULL, 
	cancel_reason TEXT, 
	memory TEXT NOT NULL, 
	result TEXT NOT NULL, 
	lease_holder VARCHAR(80), 
	lease_until FLOAT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE ("key")
);
INSERT INTO "jobs" VALUES('job-b6dc2d0f354d474d','flow/run-1/train/0','flow/run-1','train','{"name": "train"}','running','try-1',1,1700000000.5,1700000000.5,1700000005.25,NULL,'{"x": [1, 2]}','{}','host-1-abc',1700000060.5);
INSERT INTO "jobs" VALUES('job-5a2f2d17b424c955','flow/run-1/eval/0','flow/run-1','eval','{"name": "eval"}','submitted',NULL,0,1700000000.5,1700000000.5,1700000000.5,NULL,'{}','{}',NULL,0.0);
CREATE TABLE logs (
	job_id VARCHAR(40) NOT NULL, 
	"offset" INTEGER NOT NULL, 
	data BLOB NOT NULL, 
	PRIMARY KEY (job_id, "offset")
);
INSERT INTO "logs" VALUES('job-b6dc2d0f354d474d',0,X'68656C6C6F0A');
CREATE TABLE meta (
	"key" VARCHAR(64) NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('id','sky-8fc244a1549547ee');
CREATE TABLE observations (
	id INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	cloud VARCHAR(40) NOT NULL, 
	region VARCHAR(80) NOT NULL, 
	zone VARCHAR(80), 
	instance_type VARCHAR(80) NOT NULL, 
	market VARCHAR(20) NOT NULL, 
	kind VARCHAR(20) NOT NULL, 
	scope VARCHAR(20) NOT NULL, 
	hours FLOAT, 
	accelerator VARCHAR(80), 
	PRIMARY KEY (id)
);
INSERT INTO "observations" VALUES(1,1700000003.0,'gcp','us-central1',NULL,'n1-standard-8','spot','capacity','region',NULL,'T4');
CREATE TABLE payloads (
	sha256 VARCHAR(64) NOT NULL, 
	data BLOB NOT NULL, 
	PRIMARY KEY (sha256)
);
INSERT INTO "payloads" VALUES('34df0af5f543b1a3935e89cbd4356abea2165656212d82216206bac6f0416aaa',X'007069636B6C6564FF');
CREATE TABLE plans (
	"key" VARCHAR(500) NOT NULL, 
	version INTEGER NOT NULL, 
	created_at FLOAT NOT NULL, 
	pipeline TEXT NOT NULL, 
	"plan" TEXT NOT NULL, 
	PRIMARY KEY ("key", version)
);
INSERT INTO "plans" VALUES('flow/run-1',1,1700000000.5,'{"name": "p"}','{"version": 1}');
INSERT INTO "plans" VALUES('flow/run-1',2,1700000000.5,'{"name": "p"}','{"version": 2}');
CREATE TABLE runs (
	id INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	pipeline VARCHAR(500) NOT NULL, 
	task VARCHAR(200) NOT NULL, 
	cloud VARCHAR(40) NOT NULL, 
	region VARCHAR(80) NOT NULL, 
	instance_type VARCHAR(80) NOT NULL, 
	accelerator VARCHAR(80), 
	accelerator_count FLOAT NOT NULL, 
	use_spot BOOLEAN NOT NULL, 
	hours FLOAT NOT NULL, 
	input_gb FLOAT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "runs" VALUES(1,1700000004.0,'p','train','aws','us-east-1','p3.2xlarge','V100',1.0,0,1.5,2.0);
CREATE INDEX jobs_due ON jobs (state, wake_at);
CREATE INDEX jobs_of_plan ON jobs (plan_key, task);
CREATE INDEX ix_clusters_job_id ON clusters (job_id);
CREATE INDEX ix_events_job_id ON events (job_id);
CREATE INDEX ix_observations_at ON observations (at);
CREATE INDEX ix_runs_pipeline ON runs (pipeline);
COMMIT;
