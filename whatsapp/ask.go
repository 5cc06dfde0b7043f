package whatsapp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"wagate/config"
)

// askLimit is how long Meta may take to accept a message.
const askLimit = 5 * time.Second

// ErrNoTemplate means that a request for permission needs a template and none
// is configured. Nothing was sent.
var ErrNoTemplate = errors.New("no template for permission requests is configured")

// Meta's codes around permission that callers branch on.
const (
	CodeNoConsent    = 138006 // no approved permission to call
	CodeAskLimit     = 138009 // too many requests for permission
	CodeCallLimit    = 138012 // too many connected calls in 24 hours
	CodePermanent    = 138017 // permission is there and permanent
	CodeNeedTemplate = 131047 // the customer service window is closed
)

// Receipt is what Meta says when it takes a message.
type Receipt struct {
	MessageID string
	User      User // as far as Meta tells who it is: no name
}

type (
	askMessage struct {
		Product     string          `json:"messaging_product"`
		Kind        string          `json:"recipient_type"`
		To          string          `json:"to,omitempty"`
		Recipient   string          `json:"recipient,omitempty"`
		Type        string          `json:"type"`
		Interactive *askInteractive `json:"interactive,omitempty"`
		Template    *askTemplate    `json:"template,omitempty"`
		Tag         string          `json:"biz_opaque_callback_data,omitempty"`
	}
	askInteractive struct {
		Type   string    `json:"type"`
		Action askAction `json:"action"`
		Body   *askBody  `json:"body,omitempty"`
	}
	askAction struct {
		Name string `json:"name"`
	}
	askBody struct {
		Text string `json:"text"`
	}
	askTemplate struct {
		Name     string         `json:"name"`
		Language askLanguage    `json:"language"`
		Parts    []askComponent `json:"components,omitempty"`
	}
	askComponent struct {
		Type       string         `json:"type"`
		Parameters []askParameter `json:"parameters"`
	}
	askParameter struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	askLanguage struct {
		Code string `json:"code"`
	}
)

// RequestPermission sends a customer the question whether we may call. After an
// ErrUnknown it may have been sent. That the message arrives is another matter:
// a MessageFailed with the tag tells if it does not.
func (c *Client) RequestPermission(
	ctx context.Context, to Callee, kind AskKind, words config.AskMessage, tag string,
) (Receipt, error) {
	m := askMessage{
		Product: "whatsapp", Kind: "individual", To: strings.TrimPrefix(to.Number, "+"), Recipient: to.UserID, Tag: tag,
	}
	switch kind {
	case FreeForm:
		const request = "call_permission_request"
		m.Type = "interactive"
		m.Interactive = &askInteractive{Type: request, Action: askAction{request}}
		if words.Text != "" {
			m.Interactive.Body = &askBody{words.Text}
		}
	case Template:
		if words.Template.Name == "" {
			return Receipt{}, fmt.Errorf("request permission: %w: %w", ErrNoTemplate, ErrNotSent)
		}
		m.Type = "template"
		m.Template = &askTemplate{words.Template.Name, askLanguage{words.Template.Language}, askBodyOf(words.Template.Parameters)}
	}
	body, err := json.Marshal(m)
	if err != nil {
		return Receipt{}, fmt.Errorf("request permission: %w: %w", ErrNotSent, err)
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	answer, err := c.do(ctx, c.calls, actAsk, http.MethodPost, c.url+"/messages", body)
	if err != nil {
		return Receipt{}, err
	}
	return parseReceipt(answer)
}

// askBodyOf fills in the body of a template. For its other components nothing is
// sent.
func askBodyOf(texts []string) []askComponent {
	if len(texts) == 0 {
		return nil
	}
	body := askComponent{Type: "body"}
	for _, text := range texts {
		body.Parameters = append(body.Parameters, askParameter{"text", text})
	}
	return []askComponent{body}
}

// parseReceipt reads Meta's answer. Without the message's id nobody knows what
// became of it.
func parseReceipt(answer []byte) (Receipt, error) {
	var in struct {
		Contacts []json.RawMessage `json:"contacts"`
		Messages []struct {
			ID text `json:"id"`
		} `json:"messages"`
	}
	if err := read(answer, &in); err != nil {
		return Receipt{}, fmt.Errorf("request permission: read answer: %w: %w", ErrUnknown, err)
	}
	if len(in.Messages) == 0 || clean(in.Messages[0].ID) == "" {
		return Receipt{}, fmt.Errorf("request permission: answer has no message id: %w", ErrUnknown)
	}
	r := Receipt{MessageID: clean(in.Messages[0].ID)}
	for _, c := range readAll[hookContact](in.Contacts) {
		r.User = User{Number: phone(c.Number), UserID: scopedID(c.UserID), ParentUserID: scopedID(c.ParentID)}
		break
	}
	return r, nil
}

// Permissions asks Meta what a customer allows. Meta takes few such questions,
// and does not tell a customer who cannot be called from one who said nothing.
func (c *Client) Permissions(ctx context.Context, who Callee) (PermissionState, error) {
	q := url.Values{}
	if number := strings.TrimPrefix(who.Number, "+"); number != "" {
		q.Set("user_wa_id", number)
	} else {
		q.Set("recipient", who.UserID)
	}
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	asked := time.Now()
	answer, err := c.do(ctx, c.calls, actPermissions, http.MethodGet, c.url+"/call_permissions?"+q.Encode(), nil)
	if err != nil {
		return PermissionState{}, err
	}
	return parsePermissionState(answer, asked, time.Now())
}

// Until returns when a limit that Meta refused for ends, zero if it does not
// say. Its words have the time in them, in one form or another.
func (e *APIError) Until(now time.Time) time.Time {
	for _, word := range timeWord.FindAllString(e.Details+" "+e.Message, -1) {
		at, err := time.Parse(time.RFC3339, word)
		if seconds, bad := strconv.ParseInt(word, 10, 64); bad == nil {
			at, err = time.Unix(seconds, 0).UTC(), nil
		}
		if err == nil && at.After(now) && at.Before(now.Add(week+day)) {
			return at
		}
	}
	if e.RetryAfter > 0 {
		return now.Add(e.RetryAfter)
	}
	return time.Time{}
}

// timeWord matches Unix seconds and RFC 3339.
var timeWord = regexp.MustCompile(`\b(?:\d{10}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))\b`)
