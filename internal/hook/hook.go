// Package hook is the vocabulary of Switchhook and its rules as plain functions.
//
// An [App] of an [Account] has [Subscription]s to [EventType]s. A published
// [Event] owes a [Delivery] to every subscription that [Directory.Match] names;
// each [Attempt] to make that delivery ends in an [Outcome], and
// [Delivery.After] says what the outcome means. Nothing here reads a clock, a
// file or a socket: time is an argument.
package hook
