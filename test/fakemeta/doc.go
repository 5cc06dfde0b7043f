// Package fakemeta is a simulated WhatsApp Business Calling platform on this
// machine: the Graph API of a business number, the signed webhooks, and the
// customers with their phones. Tests and the demo run a gateway against it
// without an account at Meta.
//
// It is as strict as the platform is documented and observed to be, and keeps
// books that may be used as evidence:
//
//   - Every Graph request is checked (token, number, action, order of actions,
//     the session description line by line), refused as Meta refuses it, and
//     kept (Requests). What a gateway must not do is listed (Violations): all
//     refused requests but those that lost a race, and media at a wrong time.
//   - Webhooks are signed over their exact bytes and repeated until they get a
//     200. They can be delayed, repeated, reordered, lost, forged and batched
//     (Disturb, Batch); Graph replies can fail in all the usual ways (Fail).
//   - A Customer is an ICE-lite peer with DTLS-SRTP and Opus, as Meta's relay
//     is: it never checks by itself, drops every STUN request until it has taken
//     our session description, and never starts the DTLS handshake of a call
//     that the user made. It speaks a tone, hears tones, presses digits, falls
//     silent, vanishes, hangs up, and notes every packet it got.
//   - A user who is called rings, picks up, declines or does neither (Callee), by
//     itself or when a test says so (Customer.PickUp, Decline).
//   - With Options.StrictPermissions the business calls nobody who has not allowed
//     it. Requests are messages; users grant, decline, ignore and revoke (Consent,
//     Answer, Grant, Revoke) and open the customer service window (Write);
//     grants and requests expire, limits are counted, four calls in vain end a
//     permission. Permission is the book of a business number and a user.
//   - Open lists the calls that Meta believes are up: what is in it after the
//     gateway thinks that all is over is a call that somebody pays for.
//
// Media ends like at Meta: a connected call without media for StartSilence at
// its begin, or for Silence later, is ended with error 138021.
//
// # Limitations
//
// One relay port per customer unless Options.SharePort is set. DTLS 1.2 only. No
// SDES, no recording, no SIP mode. Of messages there are requests for permission,
// other templates, and the text that a user writes.
//
// Where Meta's pages are silent, what is harder for a gateway holds: a request
// that fails counts, an answer to a request does not open the customer service
// window, a user who declines a further request takes back the permission that
// was there, and a call of the user does not end a row of unanswered ones.
// Options.Clock moves the time of permissions and webhooks, not that of media,
// rings and answers.
package fakemeta
