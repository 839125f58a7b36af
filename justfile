# The recipes of the house; `just` lists them.

# Two whole sites in this process.
demo *args:
    go run ./cmd/auroramesh demo {{args}}

# An attack at site-b of the demo.
simulate scenario="c2-beacon":
    go run ./cmd/auroramesh simulate --api-base http://localhost:8002 --scenario {{scenario}}

build:
    go build -trimpath -o bin/auroramesh ./cmd/auroramesh

migrate:
    go run ./cmd/auroramesh migrate

test:
    go test ./...

# Every test with the race detector; what would be skipped fails.
test-all:
    AURORAMESH_TEST_REQUIRE=postgres,nats go test -race ./...

lint:
    golangci-lint run ./...

fmt:
    gofmt -w cmd functions shared infra e2e *.go

# Writes the generated parts of the documentation.
generate:
    go test ./shared/settings -update
    go test ./shared/sensor -run Documented -update

ci:
    bash .ci/run
