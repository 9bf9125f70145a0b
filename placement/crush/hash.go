package crush

// hashSeed starts every hash of the rjenkins1 family used by placement.
const hashSeed = 1315423911

// hashX and hashY pad the inputs of the hash up to a multiple of three words.
const (
	hashX = 231232
	hashY = 1232
)

// mix is Robert Jenkins' 96-bit mixing step.
func mix(a, b, c uint32) (uint32, uint32, uint32) {
	a = (a - b - c) ^ c>>13
	b = (b - c - a) ^ a<<8
	c = (c - a - b) ^ b>>13
	a = (a - b - c) ^ c>>12
	b = (b - c - a) ^ a<<16
	c = (c - a - b) ^ b>>5
	a = (a - b - c) ^ c>>3
	b = (b - c - a) ^ a<<10
	c = (c - a - b) ^ b>>15
	return a, b, c
}

// Hash2 is the two-word placement hash. Callers use it to derive an input x from
// a placement group number and a pool, as crushtool's --pool-id does.
func Hash2(a, b uint32) uint32 {
	h := hashSeed ^ a ^ b
	x, y := uint32(hashX), uint32(hashY)
	a, b, h = mix(a, b, h)
	x, a, h = mix(x, a, h)
	_, _, h = mix(b, y, h)
	return h
}

func hash3(a, b, c uint32) uint32 {
	h := hashSeed ^ a ^ b ^ c
	x, y := uint32(hashX), uint32(hashY)
	a, b, h = mix(a, b, h)
	c, x, h = mix(c, x, h)
	y, a, h = mix(y, a, h)
	_, x, h = mix(b, x, h)
	_, _, h = mix(y, c, h)
	return h
}

func hash4(a, b, c, d uint32) uint32 {
	h := hashSeed ^ a ^ b ^ c ^ d
	x, y := uint32(hashX), uint32(hashY)
	a, b, h = mix(a, b, h)
	c, d, h = mix(c, d, h)
	a, x, h = mix(a, x, h)
	y, b, h = mix(y, b, h)
	_, x, h = mix(c, x, h)
	_, _, h = mix(y, d, h)
	return h
}
