# One image for every function: the function is the command, e.g. `run heartbeat`.
FROM golang:1.26.8-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/auroramesh ./cmd/auroramesh

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/auroramesh /auroramesh
USER 65532:65532
ENTRYPOINT ["/auroramesh"]
CMD ["run"]
