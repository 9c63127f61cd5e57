BEGIN TRANSACTION;
CREATE TABLE activations (
	id INTEGER NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	action VARCHAR(16) NOT NULL, 
	from_version INTEGER, 
	to_version INTEGER, 
	to_checksum VARCHAR(64), 
	who VARCHAR(200) NOT NULL, 
	why TEXT, 
	gate JSON, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_activations PRIMARY KEY (id), 
	CONSTRAINT ck_activations_activation_action CHECK (action IN ('activate', 'rollback', 'deactivate'))
);
INSERT INTO "activations" VALUES(1,'strips','activate',NULL,1,'eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','ann','first',NULL,'2026-03-01 12:30:00.000000');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE annotations (
	id INTEGER NOT NULL, 
	record_id INTEGER NOT NULL, 
	revision INTEGER NOT NULL, 
	labels JSON NOT NULL, 
	boxes JSON NOT NULL, 
	author VARCHAR(200) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	is_current BOOLEAN NOT NULL, 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_annotations PRIMARY KEY (id), 
	CONSTRAINT fk_annotations_record_id_records FOREIGN KEY(record_id) REFERENCES records (id) ON DELETE CASCADE, 
	CONSTRAINT uq_annotations_record_id_revision UNIQUE (record_id, revision), 
	CONSTRAINT ck_annotations_review_state CHECK (state IN ('draft', 'submitted', 'approved', 'rejected'))
);
INSERT INTO "annotations" VALUES(1,1,1,'["crack"]','[]','ann','approved',1,'2026-03-01 12:30:00.000000');
CREATE TABLE artifacts (
	id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	path TEXT NOT NULL, 
	num_bytes INTEGER NOT NULL, 
	checksum VARCHAR(64), 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_artifacts PRIMARY KEY (id), 
	CONSTRAINT fk_artifacts_run_id_training_history FOREIGN KEY(run_id) REFERENCES training_history (id) ON DELETE CASCADE, 
	CONSTRAINT uq_artifacts_run_id_path UNIQUE (run_id, path)
);
INSERT INTO "artifacts" VALUES(1,1,'log','train.log',997,NULL,'2026-03-01 12:30:00.000000');
CREATE TABLE datasets (
	id INTEGER NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	task VARCHAR(16) NOT NULL, 
	classes JSON NOT NULL, 
	source JSON NOT NULL, 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_datasets PRIMARY KEY (id), 
	CONSTRAINT uq_datasets_name UNIQUE (name), 
	CONSTRAINT ck_datasets_task CHECK (task IN ('multiclass', 'multilabel', 'detection'))
);
INSERT INTO "datasets" VALUES(1,'Größe [1]','multiclass','["crack", "good"]','{}','2026-03-01 12:30:00.000000');
CREATE TABLE epoch_metrics (
	run_id INTEGER NOT NULL, 
	epoch INTEGER NOT NULL, 
	metrics JSON NOT NULL, 
	CONSTRAINT pk_epoch_metrics PRIMARY KEY (run_id, epoch), 
	CONSTRAINT fk_epoch_metrics_run_id_training_history FOREIGN KEY(run_id) REFERENCES training_history (id) ON DELETE CASCADE
)
 WITHOUT ROWID

;
INSERT INTO "epoch_metrics" VALUES(1,0,'{"train/loss": 0.25, "val/auroc": null}');
CREATE TABLE events (
	id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	subject VARCHAR(16) NOT NULL, 
	subject_id VARCHAR(200) NOT NULL, 
	what VARCHAR(64) NOT NULL, 
	who VARCHAR(200), 
	data JSON, 
	CONSTRAINT pk_events PRIMARY KEY (id)
);
INSERT INTO "events" VALUES(1,'2026-03-01 12:30:00.000000','run','demo-1','completed',NULL,'{"error": null}');
CREATE TABLE model_versions (
	id INTEGER NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	version INTEGER NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	label VARCHAR(200) NOT NULL, 
	path TEXT NOT NULL, 
	checksum VARCHAR(64) NOT NULL, 
	metrics JSON NOT NULL, 
	classes JSON NOT NULL, 
	description TEXT, 
	run_id INTEGER, 
	snapshot_id INTEGER, 
	is_active BOOLEAN NOT NULL, 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_model_versions PRIMARY KEY (id), 
	CONSTRAINT ck_model_versions_version_counts CHECK (version >= 1), 
	CONSTRAINT fk_model_versions_run_id_training_history FOREIGN KEY(run_id) REFERENCES training_history (id) ON DELETE SET NULL, 
	CONSTRAINT fk_model_versions_snapshot_id_snapshots FOREIGN KEY(snapshot_id) REFERENCES snapshots (id) ON DELETE RESTRICT, 
	CONSTRAINT uq_model_versions_name_version UNIQUE (name, version), 
	CONSTRAINT uq_model_versions_path UNIQUE (path), 
	CONSTRAINT ck_model_versions_model_kind CHECK (kind IN ('detection', 'view', 'defect', 'window'))
);
INSERT INTO "model_versions" VALUES(1,'strips',1,'defect','20260301-macro_f1-0.50','models/defect/strips/v1','eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','{"macro_f1": 0.5}','["crack", "good"]',NULL,1,1,1,'2026-03-01 12:30:00.000000');
CREATE TABLE records (
	id INTEGER NOT NULL, 
	dataset_id INTEGER NOT NULL, 
	record TEXT NOT NULL, 
	uri TEXT NOT NULL, 
	checksum VARCHAR(64), 
	"group" TEXT, 
	time DATETIME, 
	added DATETIME NOT NULL, 
	CONSTRAINT pk_records PRIMARY KEY (id), 
	CONSTRAINT fk_records_dataset_id_datasets FOREIGN KEY(dataset_id) REFERENCES datasets (id) ON DELETE CASCADE, 
	CONSTRAINT uq_records_dataset_id_record UNIQUE (dataset_id, record)
);
INSERT INTO "records" VALUES(1,1,'a.png','parts/a.png',NULL,'coil 1','2026-03-01 12:30:00.000000','2026-03-01 12:30:00.000000');
CREATE TABLE snapshots (
	id INTEGER NOT NULL, 
	dataset_id INTEGER, 
	fingerprint VARCHAR(64) NOT NULL, 
	task VARCHAR(16) NOT NULL, 
	classes JSON NOT NULL, 
	num_records INTEGER NOT NULL, 
	path TEXT NOT NULL, 
	checksum VARCHAR(64) NOT NULL, 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_snapshots PRIMARY KEY (id), 
	CONSTRAINT fk_snapshots_dataset_id_datasets FOREIGN KEY(dataset_id) REFERENCES datasets (id) ON DELETE SET NULL, 
	CONSTRAINT uq_snapshots_fingerprint UNIQUE (fingerprint)
);
INSERT INTO "snapshots" VALUES(1,1,'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','multiclass','["crack", "good"]',36,'snapshots/ffffffffffffffff.parquet','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','2026-03-01 12:30:00.000000');
CREATE TABLE splits (
	id INTEGER NOT NULL, 
	snapshot_id INTEGER NOT NULL, 
	method VARCHAR(64) NOT NULL, 
	seed INTEGER NOT NULL, 
	sizes JSON NOT NULL, 
	path TEXT NOT NULL, 
	checksum VARCHAR(64) NOT NULL, 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_splits PRIMARY KEY (id), 
	CONSTRAINT fk_splits_snapshot_id_snapshots FOREIGN KEY(snapshot_id) REFERENCES snapshots (id) ON DELETE CASCADE, 
	CONSTRAINT uq_splits_snapshot_id_checksum UNIQUE (snapshot_id, checksum)
);
INSERT INTO "splits" VALUES(1,1,'stratified_70_15_15',42,'{"train": 26, "val": 5, "test": 5}','runs/demo-1/split.csv','dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','2026-03-01 12:30:00.000000');
CREATE TABLE training_history (
	id INTEGER NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	path TEXT NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	recipe VARCHAR(200), 
	config JSON NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	seed INTEGER, 
	device VARCHAR(32), 
	process JSON, 
	snapshot_id INTEGER, 
	split_id INTEGER, 
	parent_id INTEGER, 
	started DATETIME, 
	finished DATETIME, 
	timings JSON, 
	error TEXT, 
	metrics JSON, 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_training_history PRIMARY KEY (id), 
	CONSTRAINT fk_training_history_parent_id_training_history FOREIGN KEY(parent_id) REFERENCES training_history (id) ON DELETE SET NULL, 
	CONSTRAINT fk_training_history_snapshot_id_snapshots FOREIGN KEY(snapshot_id) REFERENCES snapshots (id) ON DELETE RESTRICT, 
	CONSTRAINT fk_training_history_split_id_splits FOREIGN KEY(split_id) REFERENCES splits (id) ON DELETE RESTRICT, 
	CONSTRAINT uq_training_history_name UNIQUE (name), 
	CONSTRAINT ck_training_history_run_kind CHECK (kind IN ('train', 'crossval', 'tune')), 
	CONSTRAINT ck_training_history_run_status CHECK (status IN ('created', 'running', 'paused', 'interrupted', 'completed', 'failed', 'cancelled'))
);
INSERT INTO "training_history" VALUES(1,'demo-1','runs/demo-1','train','demo','{"training": {"num_epochs": 2}}','completed',42,'cpu',NULL,1,1,NULL,'2026-03-01 12:30:00.000000','2026-03-01 12:30:00.000000','{"fit": 1.5}',NULL,'{"macro_f1": 0.5}','2026-03-01 12:30:00.000000');
CREATE INDEX ix_activations_name ON activations (name);
CREATE INDEX ix_events_subject ON events (subject, subject_id);
CREATE INDEX ix_records_checksum ON records (checksum);
CREATE INDEX ix_snapshots_dataset_id ON snapshots (dataset_id);
CREATE UNIQUE INDEX ux_annotations_current ON annotations (record_id) WHERE is_current = 1;
CREATE INDEX ix_training_history_parent_id ON training_history (parent_id);
CREATE INDEX ix_training_history_recipe ON training_history (recipe);
CREATE INDEX ix_training_history_snapshot_id ON training_history (snapshot_id);
CREATE INDEX ix_training_history_split_id ON training_history (split_id);
CREATE INDEX ix_training_history_started ON training_history (started);
CREATE INDEX ix_training_history_status_started ON training_history (status, started);
CREATE INDEX ix_model_versions_run_id ON model_versions (run_id);
CREATE INDEX ix_model_versions_snapshot_id ON model_versions (snapshot_id);
CREATE UNIQUE INDEX ux_model_versions_active ON model_versions (name) WHERE is_active = 1;
COMMIT;
