package media

import "time"

// estimateMOS is the listening quality that the E-model (ITU-T G.107) expects
// of a stream with the measured loss, from 0 to 1, and our own buffering. It
// knows nothing of what happened before the far end sent it.
func estimateMOS(c Codec, loss float64, delay time.Duration) float64 {
	const best = 93.2 // R of a call without impairment
	ie, robust := 0.0, 25.1
	if c == Opus {
		ie, robust = 8, 20 // narrow band at 20 kbit/s, with concealment
	}
	percent := 100 * loss
	ie += (95 - ie) * percent / (percent + robust)
	// Simplified Id of G.107: 0.024 per ms, more from 177 ms on; half the frame
	// and the far end's buffer are assumed.
	ms := float64((delay + 3*frameTime).Milliseconds())
	id := 0.024 * ms
	if ms > 177.3 {
		id += 0.11 * (ms - 177.3)
	}
	r := min(max(best-ie-id, 0), 100)
	return min(max(1+0.035*r+7e-6*r*(r-60)*(100-r), 1), 4.5)
}
