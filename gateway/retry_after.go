package gateway

import (
	"errors"
	"math/rand/v2"
	"time"

	"wagate/whatsapp"
)

const (
	overloadRetry = 2 * time.Second
	storeRetry    = 5 * time.Second
	// leastRetry and mostRetry bound what a PBX is told where a limit of the
	// business number is reached.
	leastRetry = 5 * time.Second
	mostRetry  = time.Minute
	// maxRetry caps it where one customer's limit is reached.
	maxRetry = time.Hour
	// longestPause caps what Meta may ask for before the end of a call, which
	// somebody pays for, is asked for again.
	longestPause = time.Minute
	// userLimitQ850 is told for a limit of one customer: no other way leads there.
	userLimitQ850 = 31
)

// retryFor is how long a PBX should wait before it tries again, 0 where trying
// again is no use.
func (c *Call) retryFor(why Cause) time.Duration {
	if c.retryAfter > 0 {
		return c.retryAfter
	}
	switch why {
	case Draining:
		return c.env.cfg.Limits.DrainTimeout
	case Overloaded:
		return overloadRetry
	case StoreFailed:
		return storeRetry
	case Limited:
		return numberRetry(0)
	case NoCause, Hangup, Cancelled, Declined, Busy, NoAnswer, Unreachable, APIDown, APITimeout, NotFound, NoRoute,
		BadNumber, NotAllowed, NoPermission, NoCodec, AnswerFailed, MediaFailed, MediaLost, MaxDuration, TrunkAuth,
		APIError, Internal, numCauses:
	}
	return 0
}

// noteLimit keeps what a PBX is told where Meta refuses a call for a limit.
func (c *Call) noteLimit(err error) {
	var api *whatsapp.APIError
	var barred *whatsapp.BarredError
	if errors.As(err, &barred) && causeOfBarred(barred) == Limited {
		c.retryAfter = numberRetry(barred.Wait)
		return
	}
	if !errors.As(err, &api) || causeOfAPI(api) != Limited {
		return
	}
	if c.perUser = api.Code == whatsapp.CodeCallLimit; c.perUser {
		c.retryAfter = untilAgain(api.Until(c.now), c.now)
		return
	}
	c.retryAfter = numberRetry(api.RetryAfter)
}

// untilAgain is the time until a customer may be called again; nobody knows
// that if again is zero.
func untilAgain(again, now time.Time) time.Duration {
	if again.IsZero() {
		return maxRetry
	}
	return min(max(again.Sub(now), time.Second), maxRetry)
}

// numberRetry spreads those who try again, not before Meta wants.
func numberRetry(least time.Duration) time.Duration {
	least = min(max(least, leastRetry), mostRetry)
	return least + rand.N(mostRetry-least+time.Second).Truncate(time.Second) //nolint:gosec // spreads, hides nothing
}

// metaPause is how long Meta wants no further request, if it says so.
func metaPause(err error) time.Duration {
	var api *whatsapp.APIError
	if !errors.As(err, &api) {
		return 0
	}
	return min(api.RetryAfter, longestPause)
}
