# The recipes of the house; `just` lists them.

# Two whole sites in this process.
demo *args:
    go run ./cmd/auroramesh demo {{args}}

# An attack at site-b of the demo.
simulate scenario="c2-beacon":
    go run ./cmd/auroramesh simulate --api-base http://localhost:8002 --scenario {{scenario}}

build:
    go build -trimpath -o bin/auroramesh ./cmd/auroramesh

export AURORA_UID := `id -u`
export AURORA_GID := `id -g`

# Site A as it is deployed, one service a function: docs/operations.md says what it needs first.
stack-up:
    docker compose up --detach --build --wait

# Both sites.
stack-up-site-b:
    docker compose --profile site-b up --detach --build --wait

# Stops both; the data stays.
stack-down:
    docker compose --profile site-b down

# The database of the stack, brought up to date; `up` does the same.
migrate:
    docker compose run --rm migrate

migrate-site-b:
    docker compose --profile site-b run --rm migrate-b

test:
    go test ./...

# Every test with the race detector; what would be skipped fails.
test-all:
    AURORAMESH_TEST_REQUIRE=postgres,nats,chromium,prometheus go test -race ./...

# Three sites as real processes, under faults that the seed decides: docs/faults.md.
faults for="5m" seed="":
    AURORAMESH_FAULTS=1 AURORAMESH_FAULTS_FOR={{for}} AURORAMESH_FAULTS_SEED={{seed}} go test -v -count=1 -timeout 20m ./e2e/faults

# Two sites as deployed, but without containers: two processes of every function.
deployed:
    AURORAMESH_DEPLOYED=1 go test -v -count=1 ./e2e/deployed

# Pictures of every page of the console, in light and dark, for a phone, a desk and a wall. Look at them.
screenshots dir="screenshots":
    AURORAMESH_SCREENSHOTS={{absolute_path(dir)}} go test -v -count=1 -timeout 15m -run Screenshots ./e2e/console

# The console with a hundred sites and a hundred thousand alerts in it: docs/console.md.
console-load:
    AURORAMESH_CONSOLE_LOAD=1 go test -v -count=1 -timeout 20m -run Hundred ./e2e/console

# Every workload beside its limit: docs/performance.md. `just bench query-64 --rounds 9` measures one.
bench *args:
    go run ./cmd/auroramesh bench {{args}}

lint:
    golangci-lint run ./...

fmt:
    gofmt -w cmd functions shared infra e2e *.go

# Writes the generated parts of the documentation.
generate:
    go test ./shared/settings -update
    go test ./shared/sensor -run Documented -update
    go test ./infra/deploy -update
    go test ./cmd/auroramesh/demo -run Documentation -update

ci:
    bash .ci/run
