// Package switchhook is the root of Switchhook, a webhook platform with both ends of the
// wire. There is nothing in it to import:
//
//   - [github.com/switchhook/switchhook/webhook] receives and signs webhooks,
//   - [github.com/switchhook/switchhook/webhook/webhooktest] tests programs that do,
//   - cmd/switchhook is the program: platform, gateway and tools.
package switchhook
