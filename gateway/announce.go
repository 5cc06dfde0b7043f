package gateway

import (
	"context"
	"time"

	"wagate/config"
	"wagate/media"
)

// promptLimit bounds the time from 183 to the refusal. A prompt is shorter, with
// the silence around it; only a fault of ours makes it last so long.
const promptLimit = 12 * time.Second

// spoken reports whether the prompt is for calls that end like this. It says
// that the customer has not allowed calls; where something else is in the way it
// would mislead, so the agent gets the refusal alone.
func (c Cause) spoken() bool { return c == NoPermission }

// announces reports whether the caller hears the prompt before it is refused.
// An INVITE without an offer has nowhere to hear it (RFC 3261 section 13.2.1).
func (l *callerLeg) announces(why Cause) bool {
	c := l.call
	return c.env.cfg.Permissions.Announce && why.spoken() && !c.wordless && c.env.prompt.Length() > 0 &&
		l.socket != nil && !l.offered && l.socket.Codec() != media.NoCodec
}

// speak answers with 183 and plays the prompt.
func (l *callerLeg) speak() {
	c := l.call
	l.session.Progress(l.answerS)
	l.socket.Open()
	p := c.env.audio.Player(l.socket, c.env.prompt)
	p.Start()
	l.prompt = p
	c.do(promptLimit, func(ctx context.Context) input {
		select {
		case <-p.Done():
		case <-ctx.Done():
		}
		return promptOver{}
	})
}

// hush stops the prompt, if there is one. It may be called again.
func (l *callerLeg) hush() {
	if l.prompt != nil {
		l.prompt.Stop()
	}
}

// CheckPrompt reads the prompt that a configuration names. What is wrong with it
// is returned as config.Faults.
func CheckPrompt(cfg *config.Config) error {
	_, err := promptOf(cfg)
	return err
}

// promptOf reads the configured prompt even if it is switched off: a file that
// is named is meant to be good.
func promptOf(cfg *config.Config) (media.Sound, error) {
	sound, err := media.ReadPrompt(cfg.Permissions.Prompt)
	if err != nil {
		return sound, config.Faults{{
			Path: "permissions.prompt", What: err.Error(),
			Hint: "name a WAV of at most 10 s with one channel, 8000 or 16000 samples per second, in 16 bit PCM or G.711, or leave it empty for the built-in one",
		}}
	}
	return sound, nil
}
