package gateway

import (
	"context"
	"net/http"

	"wagate/whatsapp"
)

// consent knows whom a business number may call, and asks. Both methods fail
// with a *refusedError where there is a reason to tell.
type consent interface {
	view(ctx context.Context, number string, user whatsapp.User) (permissionView, error)
	// request asks the customer. It returns once Meta has taken the message,
	// with the state after it.
	request(ctx context.Context, number string, user whatsapp.User) (permissionView, error)
}

func (a *admin) showPermission(w http.ResponseWriter, r *http.Request) {
	if !onlyParams(w, r) {
		return
	}
	a.answerPermission(w, r, http.StatusOK, a.deps.consent.view)
}

// requestPermission asks the customer. It takes no body but an empty object.
func (a *admin) requestPermission(w http.ResponseWriter, r *http.Request) {
	if onlyParams(w, r) && readJSON(w, r, &struct{}{}, true) {
		a.answerPermission(w, r, http.StatusAccepted, a.deps.consent.request)
	}
}

func (a *admin) answerPermission(w http.ResponseWriter, r *http.Request, status int,
	do func(context.Context, string, whatsapp.User) (permissionView, error),
) {
	user, ok := customer(r.PathValue("user"))
	if !ok {
		badCustomer(w)
		return
	}
	view, err := do(r.Context(), r.PathValue("number"), user)
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	reply(w, status, view)
}

// customer reads a telephone number with its country code, with or without its
// plus, or a business-scoped user id.
func customer(text string) (whatsapp.User, bool) {
	if userIDPattern.MatchString(text) {
		return whatsapp.User{UserID: text}, true
	}
	number, ok := parseNumber(dialSeparators.Replace(text))
	return whatsapp.User{Number: digitsOf(number)}, ok
}

func badCustomer(w http.ResponseWriter) {
	fail(w, http.StatusBadRequest, string(refuseBadNumber), "the customer is a number with its country code, like +34600111222, or a business-scoped id, like ES.20914466382001574")
}
