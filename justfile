# All tasks of this repository. Run `just` to list them; CI runs the same tasks.

set shell := ["sh", "-euc"]
set positional-arguments

# `uv run` sets UV to its own path, because uv may not be on PATH.
uv := env('UV', 'uv')
# Compile at installation, so that the first start is as fast as later ones.
export UV_COMPILE_BYTECODE := '1'
# `breakpoint()` opens ipdb.
export PYTHONBREAKPOINT := env('PYTHONBREAKPOINT', 'ipdb.set_trace')
# Keep compiled files even where the environment says otherwise: the tests start hundreds of processes, each of which
# would compile our modules again, and pytest would rewrite the assertions of all test modules in each of its workers.
export PYTHONDONTWRITEBYTECODE := ''
# The Python version for the full suite, in a separate environment if `.venv` has another version.
main_python := 'scripts/with-python main'
# Each worker starts with half of the tests; when one finishes, it takes over tests from the other. List the slowest tests.
parallel := '-n 2 --dist worksteal --durations 15'
# Tests of code that may behave differently on another Python version or with the ansible-core installed for it. Tests
# marked `main_python` cost much and add little there; `just test-all` runs them on 3.10, too.
version_dependent := '-m "not slow and not main_python" -p no:schemathesis ' + \
    'tests/unit tests/integration/test_supervisor.py tests/integration/test_fork_server.py ' + \
    'tests/integration/test_ansible_callback.py tests/e2e/test_start.py'

# List the recipes
[private]
default:
    @just --list --unsorted

# --- Run ------------------------------------------------------------------------------------------------------------

# Install, build and start fastDeploy: data in ./data, services in ./services. Arguments go to `fastdeploy serve`
[group('run')]
[no-exit-message]
start *arguments:
    @scripts/with-progress "Installing dependencies" {{ uv }} sync
    @scripts/build-page
    @{{ uv }} run --quiet --no-sync python -m compileall -q deploy
    @exec {{ uv }} run --quiet --no-sync fastdeploy serve --data-dir data --services-dir services "$@"

# Start the API with reload, a worker and Vite with hot reload; Ctrl-C stops all of them
[group('run')]
dev: install
    @exec {{ uv }} run --quiet --no-sync python scripts/dev.py

# Create a user; prompts for the password
[group('run')]
createuser name *arguments:
    @{{ uv }} run --quiet fastdeploy user create --data-dir data "$@"

# Load the service folders in ./services into the database
[group('run')]
syncservices *arguments:
    @{{ uv }} run --quiet fastdeploy services sync --data-dir data --services-dir services "$@"

# --- Set up ---------------------------------------------------------------------------------------------------------

# Install everything needed for development: Python packages, npm packages, git hooks
[group('set up')]
install:
    {{ uv }} sync --quiet
    {{ uv }} run --quiet --no-sync python -m compileall -q deploy
    scripts/build-page install
    {{ uv }} run --quiet --no-sync prek install --quiet

# Build the web page into deploy/_web if its sources have changed
[group('set up')]
build-page:
    scripts/build-page

# Remove generated files; keep ./data, which contains the database
[group('set up')]
clean:
    rm -rf .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
    rm -rf .venv-3.* .venv-ansible build deploy/_web dist htmlcov site test-artifacts
    rm -rf frontend/node_modules frontend/playwright-report frontend/test-results
    find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

# --- Test -----------------------------------------------------------------------------------------------------------

# First tier, at most 15 minutes on two cores: style, types, tests not marked slow, docs, wheel
[group('test')]
test *arguments:
    @exec {{ uv }} run --quiet python scripts/run_phases.py "$@"

# Both tiers, at most 60 minutes on two cores: all tests on Python 3.13, unit and integration tests on 3.10, the page in all looks
[group('test')]
test-all *arguments:
    @exec {{ uv }} run --quiet python scripts/run_phases.py --all "$@"

# Install packages and build the page before phases of `just test` run in parallel
[private]
prepare-test:
    {{ main_python }} python -m compileall -q deploy
    scripts/build-page

# Python tests of the first tier on Python 3.13; arguments go to pytest
[group('test')]
test-python *arguments:
    {{ main_python }} pytest {{ parallel }} -m 'not slow' "$@"

# Python tests of both tiers on Python 3.13
[group('test')]
test-python-all *arguments:
    {{ main_python }} pytest {{ parallel }} "$@"

# Version-dependent tests on Python 3.10, the oldest supported version; skipped if it is not installed
[group('test')]
test-py310 *arguments:
    @scripts/if-python 3.10 pytest {{ parallel }} {{ version_dependent }} "$@"

# All unit and integration tests on Python 3.10
[group('test')]
test-py310-all *arguments:
    @scripts/if-python 3.10 pytest {{ parallel }} tests/unit tests/integration "$@"

# The page's unit tests (Vitest)
[group('test')]
test-js *arguments:
    @scripts/build-page install
    cd frontend && npm run test -- "$@"

# Browser tests of the page against the real server (Playwright), each page in two looks
[group('test')]
test-e2e *arguments:
    @scripts/system-packages
    @scripts/build-page
    cd frontend && npm run test:e2e -- "$@"

# Browser tests with each page in all looks: wide and narrow, light and dark
[group('test')]
test-e2e-all *arguments:
    @scripts/system-packages
    @scripts/build-page
    cd frontend && ALL_LOOKS=1 npm run test:e2e -- "$@"

# Python suite with coverage, including the processes it starts; report in htmlcov/
[group('test')]
coverage *arguments:
    rm -f .coverage .coverage.*
    {{ main_python }} coverage run -m pytest "$@"
    {{ main_python }} coverage combine --quiet
    {{ main_python }} coverage html --quiet
    {{ main_python }} coverage report

# Run the benchmarks against the running product
[group('test')]
bench *arguments:
    {{ main_python }} python -m benchmarks "$@"

# Kill server, worker and database at random moments during deployments, and compare transcripts
[group('test')]
chaos *arguments:
    {{ main_python }} python -m tests.e2e.chaos "$@"

# --- Check ----------------------------------------------------------------------------------------------------------

# Style, formatting, import direction, docs, generated files
[group('check')]
lint: docs-build
    git ls-files -z | xargs -0 scripts/check-text
    {{ main_python }} ruff check .
    {{ main_python }} ruff format --check .
    {{ main_python }} lint-imports --no-logo
    {{ main_python }} python scripts/openapi.py --check frontend/openapi.json
    scripts/build-page install
    cd frontend && npm exec -- openapi-typescript openapi.json --output src/api/schema.d.ts --check
    cd frontend && npm run lint

# Check types with mypy (strict) and vue-tsc. The project of the page's tests includes the page
[group('check')]
typecheck:
    {{ main_python }} mypy
    scripts/build-page install
    cd frontend && npm exec -- vue-tsc --build tsconfig.node.json tsconfig.vitest.json

# The same, and check that the page itself does not use types that only exist in Node.js
[group('check')]
typecheck-all: typecheck
    cd frontend && npm run type-check

# Format the code and apply automatic fixes
[group('check')]
format:
    {{ main_python }} ruff check --fix .
    {{ main_python }} ruff format .
    scripts/build-page install
    cd frontend && npm run format

# --- Docs and generated files ---------------------------------------------------------------------------------------

# Serve the documentation at http://127.0.0.1:8010/ and rebuild it on changes
[group('docs')]
docs-serve:
    NO_MKDOCS_2_WARNING=1 {{ main_python }} mkdocs serve --dev-addr 127.0.0.1:8010

# Build the documentation into site/; a broken link is an error
[group('docs')]
docs-build:
    NO_MKDOCS_2_WARNING=1 {{ main_python }} mkdocs build --quiet --strict

# Update the pictures in the docs from the screenshots of the browser tests
[group('docs')]
docs-pictures: test-e2e
    scripts/docs-pictures

# Generate frontend/openapi.json from the routes, and the page's types from that
[group('docs')]
openapi:
    {{ main_python }} python scripts/openapi.py frontend/openapi.json
    scripts/build-page install
    cd frontend && npm run generate

# --- Database -------------------------------------------------------------------------------------------------------

# Upgrade the database to the newest schema
[group('database')]
db-upgrade:
    {{ uv }} run --quiet fastdeploy db upgrade --data-dir data

# Create a migration from the difference between the database and the models
[group('database')]
db-revision message:
    {{ uv }} run --quiet python scripts/db_revision.py "$1"

# Open psql on the configured database
[group('database')]
db-psql *arguments:
    @{{ uv }} run --quiet python scripts/psql.py "$@"

# --- Release --------------------------------------------------------------------------------------------------------

# Build sdist and wheel, including a new build of the page, into dist/
[group('release')]
build: && package
    scripts/build-page force

# Build sdist and wheel from the existing build of the page
[private]
package:
    rm -rf dist
    {{ uv }} build --quiet
    {{ main_python }} python scripts/check_wheel.py dist
