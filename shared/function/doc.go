// Package function is the runtime of the mesh: it says what a function is and
// runs it on NATS.
//
// A [Function] is a name and its triggers. Its handlers take a context and a
// typed message and return an answer or an error; nil means done. The runtime
// owns everything around them:
//
//   - it registers the function as a NATS micro service, so that `nats micro ls`,
//     `info` and `stats` show it with its site, tier and endpoints;
//   - it creates or updates the streams, consumers and schedules that the triggers need;
//   - it decodes and validates each payload: what cannot be read never reaches a handler;
//   - it turns an error into the answer of a request (see package fault), into a
//     redelivery with backoff, or, where no retry can help, into a dead letter;
//   - it recovers a panic, counts and times every call, and bounds it in time;
//   - on stop it takes no new work, finishes what is in flight, and closes.
//
// One message goes through it so: a trigger receives it; decode makes the typed
// value or refuses it; meter.call runs the handler and keeps the figures; the
// trigger answers, acknowledges, or hands the message to the dead letters.
//
// Every function has its own NATS connection (its [Bus]), even where all run in
// one process: a drain takes a whole connection, permissions differ, and a server
// that lists its connections shows who is who. No function keeps state between
// messages, so replicas share the work through queue groups and durable consumers.
package function
