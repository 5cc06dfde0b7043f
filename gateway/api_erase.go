package gateway

import (
	"context"
	"net/http"
	"strings"

	"wagate/store"
	"wagate/whatsapp"
)

// eraser forgets a customer. It fails with a *refusedError where there is a
// reason to tell.
type eraser interface {
	erase(ctx context.Context, user whatsapp.User) (store.Erased, error)
}

// eraseUser forgets the one customer that user names. There is no way to erase
// more at once.
func (a *admin) eraseUser(w http.ResponseWriter, r *http.Request) {
	if !onlyParams(w, r, "user") {
		return
	}
	text := r.URL.Query().Get("user")
	if rest, plus := strings.CutPrefix(text, " "); plus {
		text = "+" + rest // a plus in a URL means a space
	}
	user, ok := customer(text)
	if !ok {
		badCustomer(w)
		return
	}
	gone, err := a.deps.eraser.erase(r.Context(), user)
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	reply(w, http.StatusOK, gone)
}
