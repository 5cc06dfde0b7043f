package gateway

import (
	"encoding/json"
	"net/http"
	"time"
)

// apiError is the body of every refusal.
type apiError struct {
	Error struct {
		Code    string `json:"code"`    // a word for programs
		Message string `json:"message"` // a sentence for people
	} `json:"error"`
}

func fail(w http.ResponseWriter, status int, code, message string) {
	var body apiError
	body.Error.Code, body.Error.Message = code, message
	reply(w, status, body)
}

func reply(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":"the answer cannot be encoded"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(text, '\n')) //nolint:errcheck // the client has gone
}

// jsonTime is a time as the API writes it: RFC 3339 in UTC with milliseconds,
// null for never.
type jsonTime time.Time

const apiTime = "2006-01-02T15:04:05.000Z"

// MarshalJSON implements json.Marshaler.
func (t jsonTime) MarshalJSON() ([]byte, error) {
	if time.Time(t).IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + t.String() + `"`), nil
}

// String is the time, empty for never.
func (t jsonTime) String() string {
	if time.Time(t).IsZero() {
		return ""
	}
	return time.Time(t).UTC().Format(apiTime)
}
