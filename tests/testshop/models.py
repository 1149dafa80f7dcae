"""A small shop with every shape of product that the generic catalogue meets."""

from __future__ import annotations

import uuid

from django.db import models


class Category(models.Model):
    name = models.CharField(max_length=100, unique=True)

    def __str__(self) -> str:
        return self.name


class Product(models.Model):
    """The plain case: integer key, picture on the product."""

    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    category = models.ForeignKey(Category, models.SET_NULL, null=True, blank=True)
    image = models.ImageField(upload_to="products", blank=True)

    def __str__(self) -> str:
        return self.name


class Garment(models.Model):
    """Key of another type, pictures in a table of their own."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    title = models.CharField(max_length=200)
    kind = models.CharField(max_length=50, blank=True)

    def __str__(self) -> str:
        return self.title


class GarmentPhoto(models.Model):
    garment = models.ForeignKey(Garment, models.CASCADE, related_name="photos")
    photo = models.ImageField(upload_to="garments")
    caption = models.CharField(max_length=200, blank=True)
    position = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["position", "id"]

    def __str__(self) -> str:
        return f"{self.garment_id} {self.position}"


class Slugged(models.Model):
    """A text key."""

    sku = models.CharField(primary_key=True, max_length=64)
    name = models.CharField(max_length=200)
    picture = models.ImageField(upload_to="slugged", null=True, blank=True)

    def __str__(self) -> str:
        return self.name


class Lamp(models.Model):
    """Pictures with a mark for the main one, an order that is unique, and measured sizes."""

    name = models.CharField(max_length=200)
    tags = models.ManyToManyField(Category, blank=True)

    def __str__(self) -> str:
        return self.name


class LampPhoto(models.Model):
    lamp = models.ForeignKey(Lamp, models.CASCADE, related_name="shots")
    image = models.ImageField(upload_to="lamps", width_field="width", height_field="height")
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    alt_text = models.CharField(max_length=60, blank=True)
    is_primary = models.BooleanField(default=False)
    sort_order = models.IntegerField()
    changed = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["lamp", "sort_order"], name="testshop_lamp_order")]

    def __str__(self) -> str:
        return f"{self.lamp_id} {self.sort_order}"
