// Package federation is the domain: what a site, a link, an alert and a gossip
// payload are, and the rules that hold for them. It is pure. It does no I/O, has
// no clock of its own (a time is always an argument) and imports nothing of the
// mesh but the error type, so every rule of the contract can be read and tested here.
//
// An alert goes through the package so: a [NewAlert] is what a caller raises;
// [NewAlert.Validate] says what is wrong with it; [NewAlert.Alert] makes the
// [Alert] of the local queue, with IOCs in canonical form and its dedup hash. A
// [Gate] decides whether it leaves; [Share] makes the [SharedAlert] that crosses;
// [SharedAlert.Received] makes the row at the peer.
package federation
